"""Snappy blocks, the compression of every message after Hello from p2p version 5 on (EIP-706)."""

from __future__ import annotations

from typing import Final

import cramjam

from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence

MAX_MESSAGE_BYTES: Final = 2**24 - 1
"""The largest message, before and after compression: its size must fit 24 bits (EIP-706)."""

_VARINT_BYTES: Final = 5
"""A declared size is 32 bits, 7 in each byte."""


class CorruptCompression(PeerFault):
    """Bytes that are not a snappy block."""

    offence = Offence.COMPRESSION_CORRUPT


class InflatedTooLarge(PeerFault):
    """A snappy block that declares more than is allowed. It was not inflated."""

    offence = Offence.BASE_MESSAGE_OVERSIZED

    def __init__(self, declared_bytes: int, most_bytes: int) -> None:
        super().__init__(f"a compressed message declares {declared_bytes} bytes, at most {most_bytes} are allowed")
        self.declared_bytes, self.most_bytes = declared_bytes, most_bytes


class Payload:
    """A message's content, compressed at most once however many peers it is for."""

    __slots__ = ("_compressed", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._compressed: bytes | None = None

    def __len__(self) -> int:
        return len(self.plain)

    def compressed(self) -> bytes:
        if self._compressed is None:
            self._compressed = deflate(self.plain)
        return self._compressed


def deflate(payload: bytes) -> bytes:
    """`payload` as a snappy block."""
    return bytes(cramjam.snappy.compress_raw(payload))


def inflate(compressed: bytes, most_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """The content of a snappy block, whose declared size is checked before anything is inflated."""
    declared = declared_size(compressed)
    if declared > most_bytes:
        raise InflatedTooLarge(declared, most_bytes)
    inflated = bytearray(declared)
    try:
        written = cramjam.snappy.decompress_raw_into(compressed, inflated)
    except cramjam.DecompressionError as error:
        raise CorruptCompression(f"not a snappy block: {error}") from error
    if written != declared:
        raise CorruptCompression(f"a snappy block declares {declared} bytes and holds {written}")
    return bytes(inflated)


def declared_size(compressed: bytes) -> int:
    """The size that a snappy block says it inflates to. Raises CorruptCompression."""
    size = 0
    for index, byte in enumerate(compressed[:_VARINT_BYTES]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return size
    raise CorruptCompression("a snappy block does not start with a size")
