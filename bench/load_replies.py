"""What load generators answer and the scripted coordinator expects: the same in both processes."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from bench import made_blocks
from bench.load_peer import Replies
from services.peer_gateway.core.reply_decoding import digest_slices
from services.peer_gateway.core.snappy_codec import deflate
from services.shared.chainspec.genesis import load_genesis
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, GetBlockHeaders, MessageCode, Status
from services.shared.ethwire.types import BlockHash

HEADERS: Final = 192
BODIES: Final = 128
ETH_VERSION: Final = 63

EMPTY_REPLY: Final = b"\xc0"
"""The payload of a reply without an item."""

FIRST_HEADERS: Final = GetBlockHeaders(origin=1, amount=HEADERS, skip=0, reverse=False)


class Expected(NamedTuple):
    """A reply and what the gateway makes of it."""

    reply: BlockHeaders | BlockBodies
    digests: bytes

    @property
    def item_bytes(self) -> int:
        return sum(map(len, self.reply[0]))


@cache
def status() -> Status:
    """What all say: that they are on the made chain, at its start."""
    with tempfile.TemporaryDirectory() as scratch:
        genesis = load_genesis(made_blocks.write_genesis(Path(scratch) / "genesis.json")).header
    return Status(ETH_VERSION, made_blocks.NETWORK_ID, genesis.difficulty, genesis.hash, genesis.hash)


@cache
def headers() -> Expected:
    with tempfile.TemporaryDirectory() as scratch:
        genesis = made_blocks.write_genesis(Path(scratch) / "genesis.json")
        reply = BlockHeaders([block.header.header_rlp for block in made_blocks.chain(genesis, HEADERS)])
    return Expected(reply, b"".join(digest_slices(reply)))


@cache
def bodies() -> Expected:
    reply = BlockBodies([made_blocks.body(number) for number in range(1, BODIES + 1)])
    return Expected(reply, b"".join(digest_slices(reply)))


@cache
def wanted_bodies() -> bytes:
    """Hashes of a question for bodies; nobody looks behind them."""
    return b"".join(BlockHash(number.to_bytes(32)) for number in range(BODIES))


@cache
def empty_replies() -> Replies:
    """Of a peer that has no block."""
    nothing = deflate(EMPTY_REPLY)
    return {
        MessageCode.GET_BLOCK_HEADERS: (MessageCode.BLOCK_HEADERS, nothing),
        MessageCode.GET_BLOCK_BODIES: (MessageCode.BLOCK_BODIES, nothing),
    }


@cache
def full_replies() -> Replies:
    """Compressed once; only the cipher and the MAC are live."""
    answers = {
        MessageCode.GET_BLOCK_HEADERS: headers().reply,
        MessageCode.GET_BLOCK_BODIES: bodies().reply,
    }
    encoded = {asked: encode_message(ETH_VERSION, reply) for asked, reply in answers.items()}
    return {asked: (code, deflate(payload)) for asked, (code, payload) in encoded.items()}
