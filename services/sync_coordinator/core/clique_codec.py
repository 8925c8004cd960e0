"""A signer snapshot as the bytes that the store keeps. One snapshot has one encoding."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.clique_shape import SIGNER_BYTES
from services.sync_coordinator.core.clique_snapshot import SignerSnapshot

_HEAD: Final = struct.Struct(">Q32sIII")
_CHECKSUM: Final = struct.Struct(">I")
"""CRC-32 of what comes before: a flipped bit would let a stranger sign."""


def encode_snapshot(snapshot: SignerSnapshot) -> bytes:
    """Number, hash, three counts, the signers, the recents, then pairs of voter and candidate; a checksum."""
    pairs = sorted(voter + about for about, voters in snapshot.votes.items() for voter in voters)
    counts = len(snapshot.signers), len(snapshot.recents), len(pairs)
    head = _HEAD.pack(snapshot.number, snapshot.block_hash, *counts)
    content = head + b"".join((*snapshot.signers, *snapshot.recents, *pairs))
    return content + _CHECKSUM.pack(zlib.crc32(content))


def decode_snapshot(value: bytes) -> SignerSnapshot:
    """Raises ValueError unless `value` is what `encode_snapshot` makes."""
    if len(value) < _HEAD.size + _CHECKSUM.size:
        raise ValueError("a signer snapshot is cut off")
    number, block_hash, signer_count, recent_count, vote_count = _HEAD.unpack_from(value)
    content, (checksum,) = value[: -_CHECKSUM.size], _CHECKSUM.unpack(value[-_CHECKSUM.size :])
    if len(content) != _HEAD.size + SIGNER_BYTES * (signer_count + recent_count + 2 * vote_count):
        raise ValueError("a signer snapshot has not the size that its counts say")
    if zlib.crc32(content) != checksum:
        raise ValueError("a signer snapshot does not fit its checksum")
    addresses = [content[start : start + SIGNER_BYTES] for start in range(_HEAD.size, len(content), SIGNER_BYTES)]
    voting = addresses[signer_count + recent_count :]
    votes: dict[bytes, frozenset[bytes]] = {}
    for voter, about in zip(voting[::2], voting[1::2], strict=True):
        votes[about] = votes.get(about, frozenset()) | {voter}
    signers = tuple(addresses[:signer_count])
    recents = tuple(addresses[signer_count : signer_count + recent_count])
    snapshot = SignerSnapshot(number, BlockHash(block_hash), signers, recents, votes)
    if signers != tuple(sorted(set(signers))) or encode_snapshot(snapshot) != value:
        raise ValueError("a signer snapshot is not in order")
    return snapshot
