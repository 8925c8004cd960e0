"""What stands around a broadcaster that is measured: gateways with peers in name only, and a chain that never moves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, common_pb2, coordinator_pb2, coordinator_pb2_grpc

from services.shared.ethwire.types import PeerId
from tests.support.transactions import CHAIN_ID


class StandingChain(coordinator_pb2_grpc.ChainWatchServiceServicer):
    """A coordinator as far as the pool asks for one: transactions are accepted, and no block comes."""

    async def WatchChain(self, request: Any, context: Any) -> AsyncIterator[coordinator_pb2.WatchChainResponse]:  # noqa: N802, ARG002 - named by gRPC
        forks = coordinator_pb2.TransactionForks(chain_id=CHAIN_ID.to_bytes(2), homestead_block=0, eip155_block=0)
        yield coordinator_pb2.WatchChainResponse(
            snapshot=coordinator_pb2.ChainSnapshot(
                network_id=1,
                genesis_hash=bytes(32),
                head=common_pb2.ChainHead(number=1, block_hash=bytes(32), total_difficulty=b"\x01"),
                accepts_transactions=True,
                gas_limit=8_000_000,
                forks=forks,
            )
        )
        await asyncio.Event().wait()


async def serve_standing_chain(path: Path, stack: contextlib.AsyncExitStack) -> None:
    """Serve it on a unix socket until the stack is left."""
    server = grpc.aio.server()
    coordinator_pb2_grpc.add_ChainWatchServiceServicer_to_server(StandingChain(), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    stack.push_async_callback(server.stop, None)


class VirtualGateway:
    """An Attach stream whose peers exist in name only."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.blocks = 0
        self.transaction_sends = 0
        """Pairs of a transaction and a peer."""
        self._reading = asyncio.create_task(self._read(), name="virtual-gateway")

    @classmethod
    async def attach(cls, channel: grpc.aio.Channel, name: str, peers: Sequence[PeerId]) -> VirtualGateway:
        stream = broadcast_pb2_grpc.BroadcastLinkServiceStub(channel).Attach()
        entries = [broadcast_pb2.BroadcastPeer(node_id=peer, eth_version=63) for peer in peers]
        hello = broadcast_pb2.BroadcastHello(gateway_id=name, peers=entries)
        await stream.write(broadcast_pb2.AttachRequest(hello=hello))
        await stream.initial_metadata()
        return cls(stream)

    async def know(self, peers: Sequence[PeerId], block_hash: bytes) -> None:
        """Some peers announce a block before we have it."""
        for peer in peers:
            known = broadcast_pb2.KnownBlocks(node_id=peer, hashes=block_hash, seen_us=time.time_ns() // 1000)
            await self._stream.write(broadcast_pb2.AttachRequest(known_blocks=known))

    async def pass_on(self, peer: PeerId, transaction_rlp: bytes) -> None:
        """A peer sends a transaction."""
        sent = broadcast_pb2.PeerTransactions(node_id=peer, transactions_rlp=[transaction_rlp])
        await self._stream.write(broadcast_pb2.AttachRequest(transactions=sent))

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for message in self._stream:
                kind = message.WhichOneof("content")
                self.blocks += kind == "send_block"
                if kind == "send_transactions":
                    sent = message.send_transactions
                    self.transaction_sends += len(sent.node_ids) * len(sent.transactions_rlp)
