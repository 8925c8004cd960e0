"""Real peers that push blocks and note when they hear of one, shared by `bench.fanout` and `bench.swarm`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.load_peer import LoadPeer
from services.peer_gateway.core.events import EthMessage
from services.peer_gateway.core.snappy_codec import deflate
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.eth_messages import decode_message, encode_message
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import MessageCode, NewBlock, NewBlockHashes, Status
from services.shared.ethwire.types import Block, BlockHash

JOIN_TIMEOUT_S: Final = 20.0
VERSION: Final = 63
NOTHING: Final = {MessageCode.GET_BLOCK_HEADERS.value: (MessageCode.BLOCK_HEADERS.value, deflate(b"\xc0"))}
"""Its only answer: that it has no such header, which satisfies a challenge."""


@dataclass(frozen=True, slots=True)
class Heard:
    """When a peer was sent a block, or its hash."""

    at: float
    whole: bool


class HearingPeer(LoadPeer):
    """A peer of the load generators that has no chain, pushes blocks, and notes what it hears first of each."""

    def __init__(self, name: str, target: Enode, status: Status) -> None:
        super().__init__(name, target, status, NOTHING)
        self.heard: dict[BlockHash, Heard] = {}
        self.noted = asyncio.Event()
        """Set whenever it hears something."""
        self.repeated = 0
        self.status: Status | None = None
        """The target's."""

    def push(self, block: Block, total_difficulty: int) -> float:
        """Send the block whole; the result is the moment its last byte was written."""
        message = NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty)
        self._connection.send_message(*encode_message(VERSION, message))
        self._flush()
        return time.perf_counter()

    def _on_message(self, message: EthMessage) -> None:
        now = time.perf_counter()
        match message.code:
            case MessageCode.STATUS:
                status = decode_message(VERSION, message.code, message.payload)
                assert isinstance(status, Status)
                self.status = status
                super()._on_message(message)
            case MessageCode.NEW_BLOCK:
                block = decode_message(VERSION, message.code, message.payload)
                assert isinstance(block, NewBlock)
                self._note(decode_header(block.header_rlp).hash, Heard(now, whole=True))
            case MessageCode.NEW_BLOCK_HASHES:
                announced = decode_message(VERSION, message.code, message.payload)
                assert isinstance(announced, NewBlockHashes)
                for announce in announced.announces:
                    self._note(announce.block_hash, Heard(now, whole=False))
            case _:
                super()._on_message(message)

    def _note(self, block_hash: BlockHash, heard: Heard) -> None:
        self.repeated += block_hash in self.heard
        self.heard.setdefault(block_hash, heard)
        self.noted.set()


async def join(targets: Sequence[Enode], count: int, status: Status) -> list[HearingPeer]:
    """So many peers, spread evenly over the targets, each with both handshakes done."""
    peers = [HearingPeer(f"peer-{at}", targets[at % len(targets)], status) for at in range(count)]
    for peer in peers:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            await peer.connect()
            await peer.joined
    return peers


async def until_heard(peers: Sequence[HearingPeer], block_hash: BlockHash, within_s: float) -> Mapping[int, Heard]:
    """What each peer heard of a block first, by its place; those that heard nothing in time are missing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            for peer in peers:
                while block_hash not in peer.heard:
                    peer.noted.clear()
                    await peer.noted.wait()
    return {at: peer.heard[block_hash] for at, peer in enumerate(peers) if block_hash in peer.heard}
