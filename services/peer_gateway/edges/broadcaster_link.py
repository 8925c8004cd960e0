"""The stream to the broadcaster: what peers have, and what to send them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, Self, assert_never

import grpc.aio
from blocksync.v1 import broadcast_pb2 as wire
from blocksync.v1 import broadcast_pb2_grpc

from services.peer_gateway.edges.link import CriticalOutbox, LinkKeeper, LinkLost, responses
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.types import BlockHash, PeerId
from services.shared.rpc.channel import open_channel, why_failed
from services.shared.rpc.errors import InvalidRequest
from services.shared.runtime.logs import get_log
from services.shared.trust.tls_files import TlsWatch

QUEUE_BYTES: Final = 8 * 1024 * 1024
"""What may wait for the broadcaster; over it for long, the link is cut."""

TRANSACTIONS_QUEUE_BYTES: Final = 4 * 1024 * 1024
"""Over this, transactions are dropped: they come again, from other peers."""

TELL_BELOW_BYTES: Final = 256 * 1024
"""While more than this waits, no further part is added of what peers know."""

NS_PER_US: Final = 1000


class Snapshots(NamedTuple):
    """What starts each session, taken at its start."""

    hello: Callable[[], wire.BroadcastHello]
    known_transactions: Callable[[], Iterator[wire.KnownTransactions]]


class BroadcastCommands(Protocol):
    """What the broadcaster has a gateway send. None of these waits."""

    def on_send_block(self, command: wire.SendBlock) -> None: ...

    def on_send_announces(self, command: wire.SendAnnounces) -> None: ...

    def on_send_transactions(self, command: wire.SendTransactions) -> None: ...

    def on_peer_offence(self, command: wire.PeerOffence) -> None: ...


class BroadcasterChannels:
    """Channels to the broadcasters, this gateway's own first; each attempt that fails makes room for the next one's.

    Once attached a gateway stays. Its next session is tried with its own broadcaster again.
    """

    def __init__(self, ranked: Sequence[str], tls: TlsWatch | None = None) -> None:
        self._ranked, self._tls, self._attempt = ranked, tls, 0
        self._open: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for channel in self._open.values():
            await channel.close()

    def next(self) -> tuple[str, grpc.aio.Channel]:
        """Whom to try now."""
        address = self._ranked[self._attempt % len(self._ranked)]
        self._attempt += 1
        if address not in self._open:
            self._open[address] = open_channel(address, self._tls)
        return address, self._open[address]

    def came_up(self) -> None:
        """The attempt succeeded."""
        self._attempt = 0


class BroadcasterLink:
    """Keeps the stream open. While it is down nothing is kept: the next session begins with a snapshot."""

    def __init__(self, channels: BroadcasterChannels, keeper: LinkKeeper, metrics: GatewayMetrics) -> None:
        self._channels, self._keeper, self._metrics = channels, keeper, metrics
        self._queue: CriticalOutbox[wire.AttachRequest] | None = None
        self._log = get_log("broadcaster-link")
        metrics.watch_queue("broadcast", lambda: self._queue.outbox.bytes_queued if self._queue else 0)

    async def run(
        self,
        hello: Callable[[], wire.BroadcastHello],
        known_transactions: Callable[[], Iterator[wire.KnownTransactions]],
        commands: BroadcastCommands,
    ) -> None:
        """Keep the link open until cancelled. `hello` takes the snapshot that starts each session, and
        `known_transactions` the parts that follow it; the last says that it is the last."""
        snapshots = Snapshots(hello, known_transactions)
        await self._keeper.keep_open(lambda: self._run_session(snapshots, commands))

    def peer_joined(self, peer: wire.BroadcastPeer) -> None:
        self._put(wire.AttachRequest(peer_joined=wire.BroadcastPeerJoined(peer=peer)))

    def peer_left(self, node_id: PeerId) -> None:
        self._put(wire.AttachRequest(peer_left=wire.BroadcastPeerLeft(node_id=node_id)))

    def known_blocks(self, node_id: PeerId, hashes: Iterable[BlockHash], *, whole: bool) -> None:
        """The peer sent a whole block just now, or announced these."""
        # Wall-clock time, because other processes' stamps stand beside it.
        seen_us = time.time_ns() // NS_PER_US
        known = wire.KnownBlocks(node_id=node_id, hashes=b"".join(hashes), whole=whole, seen_us=seen_us)
        self._put(wire.AttachRequest(known_blocks=known))

    def send_refused(self, block_hash: BlockHash, node_ids: Sequence[PeerId]) -> None:
        """These peers' own queues have no room for a block that they were to be sent."""
        refused = wire.SendRefused(block_hash=block_hash, node_ids=node_ids)
        self._put(wire.AttachRequest(send_refused=refused))

    def transactions(self, node_id: PeerId, transactions_rlp: Sequence[bytes]) -> None:
        if self._queue is None:
            self._metrics.drop("transactions", "link-down", len(transactions_rlp))
        elif self._queue.outbox.bytes_queued > TRANSACTIONS_QUEUE_BYTES:
            self._metrics.drop("transactions", "queue-full", len(transactions_rlp))
        else:
            content = wire.PeerTransactions(node_id=node_id, transactions_rlp=transactions_rlp)
            self._put(wire.AttachRequest(transactions=content))

    def _put(self, message: wire.AttachRequest) -> None:
        if self._queue is not None:
            self._queue.put(message, message.ByteSize())

    async def _run_session(self, snapshots: Snapshots, commands: BroadcastCommands) -> None:
        queue: CriticalOutbox[wire.AttachRequest] = CriticalOutbox(QUEUE_BYTES)
        greeting = wire.AttachRequest(hello=snapshots.hello())
        queue.put(greeting, greeting.ByteSize())
        # In the same turn of the event loop: what happens to peers after the snapshot is queued behind it.
        self._queue = queue
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._attach(queue, commands), name="broadcaster-stream")
                tasks.create_task(queue.fail_when_cut(), name="broadcaster-queue")
                tasks.create_task(_tell(queue, snapshots.known_transactions()), name="known-transactions")
        finally:
            self._queue = None
            queue.close()

    async def _attach(self, queue: CriticalOutbox[wire.AttachRequest], commands: BroadcastCommands) -> None:
        address, channel = self._channels.next()
        call = broadcast_pb2_grpc.BroadcastLinkServiceStub(channel).Attach(queue.outbox)
        try:
            await _connected(call)
            self._channels.came_up()
            self._keeper.came_up()
            self._log.debug("attached", broadcaster=address)
            async for message in responses(call):
                try:
                    self._on_response(message, commands)
                except InvalidRequest as problem:
                    raise LinkLost(f"the broadcaster broke the contract: {problem}") from problem
        finally:
            call.cancel()

    def _on_response(self, message: wire.AttachResponse, commands: BroadcastCommands) -> None:
        match kind := message.WhichOneof("content"):
            case "send_block":
                commands.on_send_block(message.send_block)
            case "send_announces":
                commands.on_send_announces(message.send_announces)
            case "send_transactions":
                commands.on_send_transactions(message.send_transactions)
            case "peer_offence":
                commands.on_peer_offence(message.peer_offence)
            case None:
                self._log.warning("the broadcaster said something this gateway does not know")
            case _:
                assert_never(kind)


async def _tell(queue: CriticalOutbox[wire.AttachRequest], parts: Iterator[wire.KnownTransactions]) -> None:
    """A part at a time, so that what happens meanwhile waits for one part at most."""
    for part in parts:
        message = wire.AttachRequest(known_transactions=part)
        await queue.outbox.wait_below(TELL_BELOW_BYTES)
        queue.put(message, message.ByteSize())
        await asyncio.sleep(0)


async def _connected(call: grpc.aio.StreamStreamCall[wire.AttachRequest, wire.AttachResponse]) -> None:
    try:
        await call.wait_for_connection()
    except grpc.aio.AioRpcError as problem:
        raise LinkLost(why_failed(problem)) from problem
