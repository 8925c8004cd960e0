"""The attached gateways: one queue each, filled with what the relay decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from blocksync.v1 import broadcast_pb2

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import (
    BlockRelay,
    JoinedPeer,
    RelayBlock,
    SendAnnounce,
    SendBlock,
)
from services.broadcaster.core.fan_out import PlaceInRow
from services.broadcaster.core.transaction_relay import SendTransactions
from services.broadcaster.edges.block_traces import BlockTraces
from services.broadcaster.edges.contract import send_announce_to_proto, send_block_to_proto, send_transactions_to_proto
from services.broadcaster.edges.transaction_peers import TransactionPeers
from services.broadcaster.metrics import BroadcasterMetrics
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, BlockHash, PeerId
from services.shared.rpc.convert import offence_to_proto
from services.shared.rpc.errors import LinkReplaced, NotReady, ReaderTooSlow, RpcError
from services.shared.rpc.known_transactions import known_transactions_from_proto
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.logs import get_log
from services.shared.runtime.tracing import Step

EndCause = Literal["left", "replaced", "too_slow", "invalid", "lost", "stopping"]
"""Why a gateway's stream ended; the label in metrics and logs."""

SendKind = Literal["propagate", "announce"]

TRANSACTIONS_SHARE: Final = 4
"""Over this part of its queue a gateway is sent no transactions, so that they never cut it off from blocks."""

PAIRS_PER_TURN: Final = 10_000
"""Of known transaction and peer, marked in one turn of the event loop: some 3 ms."""

CALM_CAUSES: Final = frozenset({"left", "stopping"})
"""Ends that are part of normal running."""


class GatewayLink:
    """One gateway's stream: what waits for its writer, and how it ended."""

    def __init__(self, gateway: GatewayId, limit_bytes: int) -> None:
        self.gateway = gateway
        self.outbox: Outbox[broadcast_pb2.AttachResponse] = Outbox(limit_bytes)
        self.error: RpcError | None = None
        self._ended = asyncio.Event()

    @property
    def is_ended(self) -> bool:
        return self._ended.is_set()

    async def ended(self) -> None:
        """Return when the stream is to be closed; raise when the gateway is to hear why."""
        await self._ended.wait()
        if self.error is not None:
            raise self.error

    def end(self, error: RpcError | None) -> None:
        self.error = error
        self._ended.set()
        self.outbox.close()


class GatewayLinks:
    """Feeds the relay with what gateways say and carries out what it decides.

    A gateway has one link, its newest. A link that ended changes nothing any more. Nothing here waits: a gateway
    whose queue is full is cut off at once, and comes back with a snapshot of what its peers really have.
    """

    def __init__(
        self,
        relay: BlockRelay,
        transactions: Callable[[], TransactionPeers],
        metrics: BroadcasterMetrics,
        queue_limit_bytes: int,
        traces: BlockTraces | None = None,
    ) -> None:
        self._relay, self._metrics, self._queue_limit_bytes = relay, metrics, queue_limit_bytes
        self._traces = traces or BlockTraces()
        self._transactions = transactions
        self._links: dict[GatewayId, GatewayLink] = {}
        self._log = get_log("gateways")
        metrics.watch_peers(lambda: relay.gateways, lambda: relay.peers, lambda: relay.distinct_blocks)
        metrics.gateway_queue.set_function(lambda: sum(link.outbox.bytes_queued for link in self._links.values()))

    def attach(self, gateway: GatewayId, peers: Sequence[JoinedPeer], *, will_tell: bool = False) -> GatewayLink:
        """`will_tell`: what its peers know of transactions follows, with `know`."""
        before = self._links.get(gateway)
        if before is not None:
            self.end(before, "replaced", LinkReplaced(f"gateway {gateway} opened a newer stream"))
        link = self._links[gateway] = GatewayLink(gateway, self._queue_limit_bytes)
        self._relay.attach(gateway, peers)
        self._transactions().attach(gateway, [joined.peer for joined in peers], will_tell=will_tell)
        self._log.info("gateway attached", gateway=gateway, peers=len(peers))
        return link

    def end(self, link: GatewayLink, cause: EndCause, error: RpcError | None = None) -> None:
        """Close a link and forget its peers; of two ends the first counts."""
        if link.is_ended:
            return
        link.end(error)
        del self._links[link.gateway]
        self._relay.detach(link.gateway)
        self._transactions().detach(link.gateway, all_was_sent=not link.outbox.bytes_queued)
        self._metrics.gateway_cuts.labels(cause).inc()
        log = self._log.info if cause in CALM_CAUSES else self._log.warning
        log("gateway detached", gateway=link.gateway, cause=cause)

    def end_all(self) -> None:
        for link in list(self._links.values()):
            self.end(link, "stopping", NotReady("the broadcaster is stopping"))

    def join(self, link: GatewayLink, joined: JoinedPeer) -> None:
        self._relay.join(link.gateway, joined)
        self._transactions().join(link.gateway, joined.peer)

    def leave(self, link: GatewayLink, peer: PeerId) -> None:
        if not self._relay.leave(link.gateway, peer):
            self._metrics.unknown_peers.inc()
        self._transactions().leave(link.gateway, peer)

    def mark_known(self, link: GatewayLink, peer: PeerId, block_hashes: Sequence[BlockHash]) -> bool:
        """False when the gateway does not have the peer."""
        is_there = self._relay.mark_known(link.gateway, peer, block_hashes)
        if not is_there:
            self._metrics.unknown_peers.inc()
        return is_there

    def refused(self, link: GatewayLink, block_hash: BlockHash, peers: Sequence[PeerId]) -> None:
        """Peers of the gateway had no room for a block: they are told of it, at once if the others were."""
        self._metrics.refused_sends.inc(len(peers))
        for send in self._relay.on_refused(link.gateway, block_hash, peers):
            self._carry_out(send)

    def take_transactions(self, link: GatewayLink, peer: PeerId, wires: Sequence[bytes]) -> None:
        self._transactions().take(link.gateway, peer, wires)

    async def know(self, link: GatewayLink, part: broadcast_pb2.KnownTransactions) -> None:
        """Take a part of what a gateway's peers know, in turns of the event loop that many peers do not make long."""
        row, known = known_transactions_from_proto(part)
        per_turn = max(1, PAIRS_PER_TURN // max(1, len(row)))
        for start in range(0, len(known), per_turn):
            if link.is_ended:
                return
            self._transactions().know(link.gateway, row, known[start : start + per_turn])
            await asyncio.sleep(0)
        if part.complete and not link.is_ended:
            self._transactions().all_known(link.gateway)

    def send_transactions(self, send: SendTransactions) -> int:
        """Queue them for a gateway; returns for how many peers, 0 when too much waits there already."""
        link = self._links[send.gateway]
        message = send_transactions_to_proto(send)
        size_bytes = message.ByteSize()
        most = self._queue_limit_bytes // TRANSACTIONS_SHARE
        if link.outbox.bytes_queued + size_bytes > most or not link.outbox.put(message, size_bytes):
            return 0
        self._metrics.gateway_bytes.labels("transactions").inc(size_bytes)
        return len(send.peers)

    def accuse(self, gateway: GatewayId, peer: PeerId, offence: Offence, explanation: str) -> None:
        """Tell a gateway what one of its peers did. One that is too far behind is not told: it has other worries."""
        link = self._links.get(gateway)
        if link is not None:
            content = broadcast_pb2.PeerOffence(
                node_id=peer, offence=offence_to_proto(offence), explanation=explanation
            )
            message = broadcast_pb2.AttachResponse(peer_offence=content)
            link.outbox.put(message, message.ByteSize())

    def count_lacking(self, block_hash: BlockHash, origins: Iterable[PeerId]) -> int:
        """How many peers lack a block."""
        return self._relay.count_lacking(block_hash, origins)

    def propagate(
        self, block: RelayBlock, origins: Iterable[PeerId], place: PlaceInRow | None = None
    ) -> tuple[int, int]:
        """Send a block to its fan-out; returns to how many peers, and how many lacked it."""
        decision = self._traces.deciding(Step.FAN_OUT, Announce(block.block_hash, block.number))
        span_id = b"" if decision is None else decision.span_id
        peers = self._relay.peers
        with self._metrics.decision_seconds.labels("propagate").time():
            propagation = self._relay.propagate(block, origins, place)
            sent = sum([self._carry_out(send, span_id) for send in propagation.sends])
        if decision is not None:
            decision.over(sent=sent, lacking=propagation.lacking)
        self._metrics.blocks.labels("propagate").inc()
        self._metrics.skipped_known.inc(peers - propagation.lacking)
        return sent, propagation.lacking

    def announce(self, announce: Announce, origins: Iterable[PeerId]) -> int:
        """Tell all peers that lack a block of it; returns how many."""
        decision = self._traces.deciding(Step.ANNOUNCE, announce)
        span_id = b"" if decision is None else decision.span_id
        with self._metrics.decision_seconds.labels("announce").time():
            sent = sum([self._carry_out(send, span_id) for send in self._relay.announce(announce, origins)])
        if decision is not None:
            decision.over(sent=sent)
        self._metrics.blocks.labels("announce").inc()
        return sent

    def _carry_out(self, send: SendBlock | SendAnnounce, decision: bytes = b"") -> int:
        """Queue a send for its gateway; returns how many peers it is for, 0 when the gateway had to be cut off."""
        match send:
            case SendBlock():
                return self._put(send.gateway, "propagate", send_block_to_proto(send, decision), len(send.peers))
            case SendAnnounce():
                return self._put(send.gateway, "announce", send_announce_to_proto(send, decision), len(send.peers))

    def _put(self, gateway: GatewayId, kind: SendKind, message: broadcast_pb2.AttachResponse, peers: int) -> int:
        link = self._links[gateway]
        size_bytes = message.ByteSize()
        if not link.outbox.put(message, size_bytes):
            self._metrics.dropped_sends.labels(kind).inc(peers)
            waiting = link.outbox.bytes_queued
            self.end(
                link, "too_slow", ReaderTooSlow(f"{waiting} bytes wait for gateway {gateway}, and no room for more")
            )
            return 0
        self._metrics.gateway_bytes.labels(kind).inc(size_bytes)
        self._metrics.peer_sends.labels(kind).inc(peers)
        return peers
