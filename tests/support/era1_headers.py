"""Headers and uncles of an era1 archive (e2store records: type, length, snappy-framed RLP)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import cramjam

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.rlp_slices import split_list
from services.shared.ethwire.types import Header

HEADER_RECORD, BODY_RECORD = 0x03, 0x04


def era1_blocks(path: Path) -> Iterator[tuple[Header, list[Header]]]:
    """Each block's header and its uncles."""
    archive = path.read_bytes()
    offset = 0
    header: Header | None = None
    while offset < len(archive):
        record, length = struct.unpack_from("<HI", archive, offset)
        content = archive[offset + 8 : offset + 8 + length]
        offset += 8 + length
        if record == HEADER_RECORD:
            header = decode_header(bytes(cramjam.snappy.decompress(content)))
        elif record == BODY_RECORD and header is not None:
            _, uncles = split_list(bytes(cramjam.snappy.decompress(content)))
            yield header, [decode_header(uncle) for uncle in split_list(uncles)]
