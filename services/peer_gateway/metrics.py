"""What a gateway counts. The help texts are the documentation; `docs/metrics.md` is made of them."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Final, Literal

from blocksync.v1 import common_pb2
from prometheus_client import CollectorRegistry, Gauge

from services.peer_gateway.core.client_family import CLIENT_FAMILIES, client_family
from services.peer_gateway.core.dial_plan import DialKind
from services.peer_gateway.core.discv4_faults import DropCause
from services.peer_gateway.core.discv4_types import Packet
from services.peer_gateway.core.faulty_messages import FAULT_OF, MESSAGE_FAULTS
from services.peer_gateway.core.request_book import Request
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.eth_messages import ETH_VERSIONS
from services.shared.ethwire.messages import EthMessage, NewBlock, NewBlockHashes, Transactions
from services.shared.ethwire.offences import Offence
from services.shared.runtime.metric_catalogue import Catalogue, Label
from services.shared.runtime.process_metrics import ProcessMetrics
from services.shared.runtime.rpc_metrics import RpcMetrics
from services.shared.runtime.tracing import TraceMetrics

MESSAGE_NAMES: Final = tuple(kind.__name__ for kind in typing.get_args(EthMessage))

DROPS: Final = (
    ("announce", "known-to-peer"),
    ("announces", "bulk-full-or-down"),
    *(("block", cause) for cause in ("bulk-full-or-down", "known-to-peer", "oversized")),
    *(("datagram", cause) for cause in ("not-sent", "returned", *(cause.value for cause in DropCause))),
    ("disconnect", "coordinator-away"),
    *(("reply", cause) for cause in ("bulk-full", "stale", "unasked")),
    *(("transactions", cause) for cause in ("link-down", "oversized", "queue-full")),
    *((kind.__name__, "slow-peer") for kind in (NewBlock, NewBlockHashes, Transactions)),
)
"""Kind and cause of all that is dropped."""

DIRECTION: Final = Label.of("direction", ("in", "out"))
SERVICE: Final = Label.of("service", ("coordinator", "broadcaster"))


class GatewayMetrics:
    """One per process, touched only by edges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.catalogue = Catalogue("peer_gateway", registry)
        self._declare_peers()
        self._declare_wire()
        self._declare_discovery()
        self._declare_links()
        self.rpc = RpcMetrics(self.catalogue, ())
        self.traces = TraceMetrics(self.catalogue)
        self.process = ProcessMetrics(self.catalogue)

    def _declare_peers(self) -> None:
        declare = self.catalogue
        declare.group("Peers")
        self.connections = declare.gauges(
            "peer_gateway_connections", "Open TCP connections to peers, by who dialled.", DIRECTION
        )
        self._peers = declare.gauges(
            "peer_gateway_peers",
            "Peers that finished all handshakes, by who dialled, client family and eth version.",
            DIRECTION,
            Label.of("client", CLIENT_FAMILIES),
            Label.of("version", map(str, ETH_VERSIONS)),
        )
        self.dials = declare.counters(
            "peer_gateway_dials_total",
            "Dials that ended, by why they were made and whether anybody was there.",
            Label.of("kind", (kind.value for kind in DialKind)),
            Label.of("outcome", ("connected", "unreachable")),
        )
        self.refused = declare.counters(
            "peer_gateway_refused_connections_total",
            "Inbound connections closed before their handshake was done: over a limit of addresses or places.",
            Label.of("cause", ("closing", "evicted", "netrestrict", "pending", "throttled")),
        )
        self.handshakes = declare.counters(
            "peer_gateway_handshakes_total",
            "Handshakes that ended, by the stage they came to and outcome: refused by us, or lost.",
            Label.names_of("stage", Stage),
            Label.of("outcome", ("joined", "refused", "lost")),
        )
        self.disconnects = declare.counters(
            "peer_gateway_disconnects_total",
            "Connections that ended, by devp2p reason (none: the connection was gone) and the side that ended it.",
            Label.names_of("reason", DisconnectReason, "none"),
            Label.of("side", ("us", "them")),
        )
        self._offences = declare.counters(
            "peer_gateway_offences_total",
            "Ends of connections by the rule broken or other cause, and what is only counted.",
            Label.names_of("offence", Offence),
        )

    def _declare_wire(self) -> None:
        declare, name = self.catalogue, Label.of("name", MESSAGE_NAMES)
        declare.group("Wire")
        self.bytes = declare.counters("peer_gateway_bytes_total", "Bytes that crossed peers' sockets.", DIRECTION)
        self._messages = declare.counters(
            "peer_gateway_messages_total", "eth messages read from peers or queued for them, by name.", DIRECTION, name
        )
        self._message_bytes = declare.counters(
            "peer_gateway_message_bytes_total", "Bytes of eth messages before compression, by name.", DIRECTION, name
        )
        self.count_read, self.count_queued = self._message_counter("in"), self._message_counter("out")
        self._faulty = declare.counters(
            "peer_gateway_faulty_messages_total",
            "Messages of peers that break a rule: undecodable, oversize, of an unknown code, out of place, a reply "
            "that was not asked for, or contents that do not match what they should.",
            Label.of("fault", MESSAGE_FAULTS),
        )
        self.dropped = declare.paired_counters(
            "peer_gateway_dropped_total",
            "What was dropped on purpose, by kind and cause. A message by its name is one that its peer's queue had "
            "no room for.",
            ("kind", "cause"),
            DROPS,
        )
        self.digested = declare.counters(
            "peer_gateway_digested_bytes_total",
            "Bytes of replies and blocks hashed, in the gateway or in a worker.",
            Label.of("by", ("gateway", "worker")),
        )
        self.root_worker_losses = declare.counter(
            "peer_gateway_root_worker_losses_total", "Batches that a root worker did not answer."
        )
        self.questions = declare.counters(
            "peer_gateway_questions_total",
            "Peers' questions about our chain, by kind and outcome; late and failed ones were answered empty.",
            Label.of("kind", (kind.__name__ for kind in typing.get_args(Request))),
            Label.of("outcome", ("answered", "empty", "late", "failed")),
        )
        self._send_queues = declare.gauge(
            "peer_gateway_send_queue_bytes", "Bytes that wait for peers to read, over all peers."
        )

    def _declare_discovery(self) -> None:
        declare = self.catalogue
        declare.group("Discovery")
        self.discovery_packets = declare.counters(
            "peer_gateway_discovery_packets_total",
            "Discovery packets, by type.",
            DIRECTION,
            Label.of("type", (kind.__name__ for kind in typing.get_args(Packet))),
        )
        self.lookups = declare.counters(
            "peer_gateway_discovery_lookups_total",
            "Lookups that ended, by whether they found a node.",
            Label.of("outcome", ("found", "empty")),
        )
        self._known_nodes = declare.gauge("peer_gateway_discovery_table_nodes", "Live nodes in the discovery table.")
        self._bonds = declare.gauge("peer_gateway_discovery_bonds", "Nodes that have proven their endpoint.")

    def _declare_links(self) -> None:
        declare = self.catalogue
        declare.group("Links")
        self.link_sessions = declare.counters(
            "peer_gateway_link_sessions_total",
            "Links opened, by service at the other end: the first, and one for each reconnect.",
            SERVICE,
        )
        self.link_up = declare.gauges("peer_gateway_link_up", "1 while the link to the service is up.", SERVICE)
        self._queues = declare.gauges(
            "peer_gateway_queue_bytes",
            "Bytes waiting for the writer of a link: control and bulk to the coordinator, broadcast to the other.",
            Label.of("queue", ("control", "bulk", "broadcast")),
        )
        self._known_transactions = declare.gauge(
            "peer_gateway_known_transaction_hashes",
            "Distinct transaction hashes remembered for a broadcaster that starts anew.",
        )

    def watch_queue(self, name: str, bytes_queued: Callable[[], float]) -> None:
        """Read a queue's size whenever metrics are collected."""
        self._queues.labels(name).set_function(bytes_queued)

    def watch_known_transactions(self, distinct: Callable[[], float]) -> None:
        """Read the number whenever metrics are collected."""
        self._known_transactions.set_function(distinct)

    def watch_send_queues(self, bytes_queued: Callable[[], float]) -> None:
        """Read what waits for all peers whenever metrics are collected."""
        self._send_queues.set_function(bytes_queued)

    def watch_discovery(self, known_nodes: Callable[[], float], bonds: Callable[[], float]) -> None:
        """Read both numbers whenever metrics are collected."""
        self._known_nodes.set_function(known_nodes)
        self._bonds.set_function(bonds)

    def peers_like(self, peer: common_pb2.PeerDetails) -> Gauge:
        """The number of peers of the same direction, client family and version."""
        direction = "in" if peer.inbound else "out"
        return self._peers.labels(direction, client_family(peer.client_name), str(peer.eth_version))

    def offence(self, offence: Offence) -> None:
        """Count a broken rule, and the message that broke it where it was one."""
        self._offences.labels(offence.name.lower()).inc()
        fault = FAULT_OF.get(offence)
        if fault is not None:
            self._faulty.labels(fault).inc()

    def _message_counter(self, direction: Literal["in", "out"]) -> Callable[[int, int], None]:
        """A function that counts a message, given its code and its size in bytes; a code without a name is none."""
        counters = {
            code: (self._messages.labels(direction, name), self._message_bytes.labels(direction, name))
            for version in ETH_VERSIONS.values()
            for code, codec in version.codecs.items()
            if (name := codec.kind.__name__)
        }

        def count(code: int, size_bytes: int) -> None:
            found = counters.get(code)
            if found is not None:
                messages, message_bytes = found
                messages.inc()
                message_bytes.inc(size_bytes)

        return count

    def drop(self, kind: str, cause: str, count: int = 1) -> None:
        """Count something that was dropped; both words come from closed sets in the callers."""
        self.dropped.labels(kind, cause).inc(count)
