"""Peers and wire: who is connected, and what passes between us."""

from __future__ import annotations

from typing import Final

from tools.dashboards.description import HALF, Dashboard, Panel, Query, Row, or_nothing, rate

CONNECTED: Final = Row(
    "Who is connected?",
    [
        Panel(
            title="Peers, by who dialled",
            description="out: we dialled them; in: they dialled us. The dashed line is the number of places.",
            queries=[
                Query("sum by (direction) (peer_gateway_peers)", "{{direction}}"),
                Query("max(ethereum_peer_limit)", "places", dashed=True),
            ],
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Peers, by client",
            description="The family of client software that peers name in their Hello.",
            queries=[Query("sum by (client) (peer_gateway_peers)", "{{client}}")],
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Peers, by version of eth",
            description="The version of the eth protocol in use. Receipts and state come only from eth/63.",
            queries=[Query("sum by (version) (peer_gateway_peers)", "eth/{{version}}")],
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Peers, by gateway",
            description="How the peers are shared out over the gateways.",
            queries=[Query("sum by (instance) (peer_gateway_peers)", "{{instance}}")],
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Who asked for a place, and what was the answer?",
            description="Nodes that finished the encryption handshake and asked the coordinator for a place, per "
            "minute.",
            queries=[Query(rate("coordinator_admissions_total", "answer", per_minute=True), "{{answer}}")],
            unit="cpm",
        ),
        Panel(
            title="Banned nodes",
            description="Nodes that are turned away for a while because of what they did.",
            queries=[Query("sum(coordinator_bans)", "banned")],
            unit="short",
        ),
    ],
)

SUCCESS: Final = Row(
    "Do connections come about, and why do they end?",
    [
        Panel(
            title="Do our dials reach anybody?",
            description="Dials that ended, by why they were made and outcome, per minute. Most discovered nodes "
            "are unreachable or full.",
            queries=[
                Query(rate("peer_gateway_dials_total", "kind", "outcome", per_minute=True), "{{kind}} {{outcome}}")
            ],
            unit="cpm",
        ),
        Panel(
            title="How do handshakes end?",
            description="By the stage that a connection had reached: transport is encryption and Hello, then "
            "admission, then Status.",
            queries=[
                Query(
                    rate("peer_gateway_handshakes_total", "stage", "outcome", per_minute=True), "{{stage}} {{outcome}}"
                )
            ],
            unit="cpm",
        ),
        Panel(
            title="Who is turned away before a handshake?",
            description="Inbound connections over a limit: too many of one address, or all places of handshakes taken.",
            queries=[Query(rate("peer_gateway_refused_connections_total", "cause", per_minute=True), "{{cause}}")],
            unit="cpm",
        ),
        Panel(
            title="Why do connections end?",
            description="The reason that was told in devp2p's Disconnect, and the side that told it, per minute.",
            queries=[
                Query(rate("peer_gateway_disconnects_total", "reason", "side", per_minute=True), "{{side}}: {{reason}}")
            ],
            unit="cpm",
            width=HALF,
        ),
        Panel(
            title="What did peers do against the rules?",
            description="Offences that gateways and coordinator found, per minute; docs/operations.md says what "
            "follows for each.",
            queries=[
                Query(rate("peer_gateway_offences_total", "offence", per_minute=True), "{{offence}}"),
                Query(rate("coordinator_offences_total", "offence", per_minute=True), "{{offence}} (chain)"),
            ],
            unit="cpm",
            width=HALF,
        ),
    ],
)

WIRE: Final = Row(
    "What crosses the wire?",
    [
        Panel(
            title="Traffic of the peers' connections",
            description="Bytes on the sockets, encrypted and compressed.",
            queries=[Query(rate("peer_gateway_bytes_total", "direction"), "{{direction}}")],
            unit="Bps",
        ),
        Panel(
            title="Messages that peers send us",
            description="eth messages by type.",
            queries=[Query(rate("peer_gateway_messages_total", "name", where='direction="in"'), "{{name}}")],
            unit="cps",
        ),
        Panel(
            title="Messages that we send",
            description="eth messages by type.",
            queries=[Query(rate("peer_gateway_messages_total", "name", where='direction="out"'), "{{name}}")],
            unit="cps",
        ),
        Panel(
            title="Bytes of messages, by type",
            description="eth messages before compression: which type takes the bandwidth.",
            queries=[
                Query(rate("peer_gateway_message_bytes_total", "direction", "name"), "{{direction}} {{name}}"),
            ],
            unit="Bps",
        ),
        Panel(
            title="Messages that are wrong",
            description="Undecodable, too large, unknown, out of place, or a reply to nothing, per minute. "
            "docs/operations.md says what follows for the peer.",
            queries=[Query(rate("peer_gateway_faulty_messages_total", "fault", per_minute=True), "{{fault}}")],
            unit="cpm",
        ),
        Panel(
            title="What do peers ask, and do we answer?",
            description="Peers' questions about our chain. Empty: we do not have it. Late or failed: the "
            "coordinator did not answer.",
            queries=[Query(rate("peer_gateway_questions_total", "kind", "outcome"), "{{kind}} {{outcome}}")],
            unit="cps",
        ),
    ],
)

WAITING: Final = Row(
    "Does anything wait, or get lost?",
    [
        Panel(
            title="What waits for peers to read it?",
            description="Bytes in the send queues of all peers. Each peer's is bounded; a slow reader delays only"
            " itself.",
            queries=[Query("sum by (instance) (peer_gateway_send_queue_bytes)", "{{instance}}")],
            unit="bytes",
        ),
        Panel(
            title="What waits between the services?",
            description="Bytes queued for the streams between gateways, coordinator and broadcaster. Near 0 is normal.",
            queries=[
                Query("sum by (queue) (peer_gateway_queue_bytes)", "gateway {{queue}}"),
                Query("sum by (queue) (coordinator_link_queue_bytes)", "coordinator {{queue}}"),
                Query("sum(broadcaster_gateway_queue_bytes)", "broadcaster"),
            ],
            unit="bytes",
        ),
        Panel(
            title="What was dropped on purpose?",
            description="By kind and cause, per minute. slow-peer: a peer does not read; full, down: a service of ours "
            "does not. Only what was dropped once is listed.",
            queries=[
                Query(
                    or_nothing(rate("peer_gateway_dropped_total", "kind", "cause", per_minute=True), "kind"),
                    "{{kind}} {{cause}}",
                )
            ],
            unit="cpm",
        ),
    ],
)

DISCOVERY: Final = Row(
    "Are other nodes found?",
    [
        Panel(
            title="Known nodes",
            description="table: live nodes in the discovery tables; proven: nodes that answered at their address.",
            queries=[
                Query("sum(peer_gateway_discovery_table_nodes)", "table"),
                Query("sum(peer_gateway_discovery_bonds)", "proven"),
            ],
            unit="short",
        ),
        Panel(
            title="Searches for nodes",
            description="Lookups in the network that ended, per minute: with nodes found, or empty.",
            queries=[Query(rate("peer_gateway_discovery_lookups_total", "outcome", per_minute=True), "{{outcome}}")],
            unit="cpm",
        ),
        Panel(
            title="Discovery packets",
            description="UDP packets of discovery v4. Packets out and none in: UDP does not reach us.",
            queries=[
                Query(rate("peer_gateway_discovery_packets_total", "direction", "type"), "{{direction}} {{type}}")
            ],
            unit="cps",
        ),
    ],
)

LINKS: Final = Row(
    "Do the gateways reach the other services?",
    [
        Panel(
            title="Links that are up",
            description="Gateways whose link to the coordinator, and to a broadcaster, is up. It should be the "
            "number of gateways.",
            queries=[
                Query("sum by (service) (peer_gateway_link_up)", "{{service}}"),
                Query("count(peer_gateway_build_info)", "gateways", dashed=True),
            ],
            unit="short",
        ),
        Panel(
            title="Links that were opened again",
            description="Per minute. Every start of a service opens each link once; more means that links break.",
            queries=[Query(rate("peer_gateway_link_sessions_total", "service", per_minute=True), "{{service}}")],
            unit="cpm",
        ),
        Panel(
            title="Who hashes what peers send?",
            description="Bytes whose roots were computed, in the gateways or in their worker processes.",
            queries=[Query(rate("peer_gateway_digested_bytes_total", "by"), "{{by}}")],
            unit="Bps",
        ),
    ],
)

PEERS: Final = Dashboard(
    key="peers",
    title="trisync: peers and wire",
    description="Who is connected, why others are not, what passes between us, and what is lost.",
    rows=[CONNECTED, SUCCESS, WIRE, WAITING, DISCOVERY, LINKS],
)
