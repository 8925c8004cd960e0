"""Peers that serve a stored chain, all in one process (`python -m bench.serving_peers`).

So a sync from ten peers costs its sources no more than one from a single peer, and a difference is the sink's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.line_server import Command, serve_lines
from bench.load_peer import LoadPeer
from services.peer_gateway.core.events import EthMessage
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.eth_messages import decode_message
from services.shared.ethwire.messages import (
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    MessageCode,
    Status,
)
from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.chain_serving import (
    answer_bodies,
    answer_headers,
    answer_node_data,
    answer_receipts,
)
from services.sync_coordinator.store.lmdb_store import LmdbChainStore

ETH_VERSION: Final = 63


class ServingPeer(LoadPeer):
    """Answers questions at once, in the order asked."""

    def __init__(self, name: str, target: Enode, status: Status, chain: LmdbChainStore) -> None:
        super().__init__(name, target, status, {})
        self._chain = chain

    def _on_message(self, message: EthMessage) -> None:
        match decode_message(ETH_VERSION, message.code, message.payload):
            case GetBlockHeaders() as question:
                self._connection.send_message(MessageCode.BLOCK_HEADERS, answer_headers(self._chain, question))
            case GetBlockBodies(hashes):
                self._connection.send_message(MessageCode.BLOCK_BODIES, answer_bodies(self._chain, hashes))
            case GetReceipts(hashes):
                self._connection.send_message(MessageCode.RECEIPTS, answer_receipts(self._chain, hashes))
            case GetNodeData(hashes):
                self._connection.send_message(MessageCode.NODE_DATA, answer_node_data(self._chain, hashes))
            case _:
                super()._on_message(message)


class Servers:
    """All peers of the process."""

    def __init__(self) -> None:
        self._peers: list[ServingPeer] = []

    def commands(self) -> Mapping[str, Command]:
        return {"join": self.join}

    async def join(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Connect `count` peers that serve the chain at `store`; answers once all have joined."""
        chain = LmdbChainStore.open(Path(asked["store"]), None, read_only=True)
        head = chain.heads().full_block
        genesis_hash = chain.canonical_hash(0)
        assert genesis_hash is not None, "a store has a genesis block"
        total_difficulty = chain.total_difficulty(head.hash) or 0
        said = Status(ETH_VERSION, asked["network_id"], total_difficulty, BlockHash(head.hash), genesis_hash)
        target = parse_enode(asked["enode"])
        self._peers = [ServingPeer(f"source-{number}", target, said, chain) for number in range(asked["count"])]
        await asyncio.gather(*(peer.connect() for peer in self._peers))
        await asyncio.gather(*(peer.joined for peer in self._peers))
        return {"joined": len(self._peers)}


async def _start() -> Mapping[str, Command]:
    return Servers().commands()


if __name__ == "__main__":
    serve_lines(_start)
