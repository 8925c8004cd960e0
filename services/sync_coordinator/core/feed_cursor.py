"""Where a reader of the block feed stands, and the cursor that tells it.

A cursor is 84 characters of URL-safe base64. What it packs: format, direction, the number and the hash of
the block of its step, the first number that was wanted, the beginning of the genesis hash, a checksum.
"""

from __future__ import annotations

import base64
import binascii
import enum
import struct
from typing import Final, NamedTuple

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import BlockHash

FORMAT: Final = 1
GENESIS_BYTES: Final = 8
"""Of the genesis hash: enough to tell chains apart that nobody made to look alike."""

CHECKSUM_BYTES: Final = 4
"""A cursor is copied by people and programs; this tells a damaged one from one of another chain."""

_PACKED: Final = struct.Struct(f">BBQQ32s{GENESIS_BYTES}s{CHECKSUM_BYTES}s")
CURSOR_CHARACTERS: Final = -(-_PACKED.size // 3) * 4
SHOWN_CHARACTERS: Final = 100
"""Of a value that is no cursor, so many are shown in the refusal."""


class Direction(enum.Enum):
    """What the step of a cursor did with its block."""

    APPLY = 1
    UNDO = 2


class Place(NamedTuple):
    """A block by number and hash."""

    number: int
    hash: BlockHash


class Cursor(NamedTuple):
    """A step that a reader has taken. `first_wanted` is the number it began with."""

    direction: Direction
    block: Place
    first_wanted: int


class CursorInvalid(ValueError):
    """Not a cursor of this chain. The text names the value, the rule, and what to do."""


def encode_cursor(cursor: Cursor, genesis: BlockHash) -> str:
    packed = _packed(cursor, genesis, bytes(CHECKSUM_BYTES))
    packed = _packed(cursor, genesis, _checksum(packed))
    return base64.urlsafe_b64encode(packed).decode()


def decode_cursor(text: str, genesis: BlockHash) -> Cursor:
    """Raises CursorInvalid; a text that decodes is the one that `encode_cursor` made."""
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    try:
        packed = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        packed = b""
    if len(packed) != _PACKED.size or len(text) != CURSOR_CHARACTERS:
        raise _invalid(shown, f"a cursor is {CURSOR_CHARACTERS} characters of URL-safe base64; give one as it was sent")
    version, direction, number, first_wanted, block_hash, own_genesis, checksum = _PACKED.unpack(packed)
    if version != FORMAT:
        raise _invalid(shown, f"its format is {version}, {FORMAT} is known; give it to the trisync that made it")
    if checksum != _checksum(packed) or base64.urlsafe_b64encode(packed).decode() != text:
        raise _invalid(shown, "its checksum is wrong; give it as it was sent")
    if own_genesis != genesis[:GENESIS_BYTES]:
        raise _invalid(
            shown,
            f"it is of a chain whose genesis hash begins with 0x{own_genesis.hex()}, "
            f"ours begins with 0x{genesis[:GENESIS_BYTES].hex()}; ask a node of that chain, or start from a number",
        )
    if direction not in (1, 2) or number < first_wanted:
        raise _invalid(shown, "no step is like this; give it as it was sent")
    return Cursor(Direction(direction), Place(number, BlockHash(block_hash)), first_wanted)


def _packed(cursor: Cursor, genesis: BlockHash, checksum: bytes) -> bytes:
    number, block_hash = cursor.block
    return _PACKED.pack(
        FORMAT, cursor.direction.value, number, cursor.first_wanted, block_hash, genesis[:GENESIS_BYTES], checksum
    )


def _checksum(packed: bytes) -> bytes:
    return keccak256(packed[:-CHECKSUM_BYTES])[:CHECKSUM_BYTES]


def _invalid(shown: str, why: str) -> CursorInvalid:
    return CursorInvalid(f"cursor {shown!r} is refused: {why}")
