"""era1 archives: up to 8192 blocks with receipts and total difficulties (e2store format, `era1` of the portal specs).

Records are type (2 bytes), length (4), reserved (2), content; little-endian. A version record comes
first, then header, body, receipts and total difficulty of each block, then the accumulator and the
block index: the first number, where each block starts relative to the index, and the count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import cramjam

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.sync_coordinator.store.file_block import MAX_BLOCK_BYTES, DumpInvalid, FileBlock, read_exactly

VERSION, HEADER, BODY, RECEIPTS, TOTAL_DIFFICULTY = 0x3265, 0x03, 0x04, 0x05, 0x06
BLOCK_INDEX: Final = 0x3266
MAX_BLOCKS: Final = 8192
"""Blocks of one archive; more means the index is damaged."""

_RECORD = struct.Struct("<HIH")
_NAMES: Final = {HEADER: "header", BODY: "body", RECEIPTS: "receipts", TOTAL_DIFFICULTY: "total difficulty"}


class _Record(NamedTuple):
    kind: int
    content: bytes
    offset: int


def read_era1(path: Path, file: BinaryIO) -> Iterator[FileBlock]:
    """The blocks of the archive, each once it is whole; the index is checked after the last. Raises DumpInvalid."""
    records = _records(path, file)
    first = next(records, None)
    if first is None or first.kind != VERSION or first.content:
        raise DumpInvalid(path, "byte 0", "an e2store version record is missing")
    starts: list[int] = []
    first_number = 0
    index: _Record | None = None
    for record in records:
        if index is not None:
            raise DumpInvalid(path, f"byte {record.offset}", "a record follows the block index")
        if record.kind == HEADER:
            block = _read_block(path, record, records)
            if not starts:
                first_number = _number(path, block.header_rlp)
            starts.append(record.offset)
            yield block
        elif record.kind == BLOCK_INDEX:
            index = record
        elif record.kind in _NAMES:
            raise DumpInvalid(path, f"byte {record.offset}", f"a {_NAMES[record.kind]} record stands outside a block")
    if index is None:
        raise DumpInvalid(path, "", "the block index is missing: the file is cut off or not an era1 archive")
    _check_index(path, index, first_number, starts)


def _records(path: Path, file: BinaryIO) -> Iterator[_Record]:
    offset = 0
    while head := file.read(_RECORD.size):
        where = f"byte {offset}"
        if len(head) < _RECORD.size:
            raise DumpInvalid(path, where, "the file is cut off within a record")
        kind, size, reserved = _RECORD.unpack(head)
        if reserved or size > MAX_BLOCK_BYTES:
            raise DumpInvalid(path, where, "no e2store record starts here")
        yield _Record(kind, read_exactly(path, file, size, where), offset)
        offset += _RECORD.size + size


def _read_block(path: Path, header: _Record, records: Iterator[_Record]) -> FileBlock:
    contents = [_unpack(path, header)]
    for wanted in (BODY, RECEIPTS, TOTAL_DIFFICULTY):
        record = next(records, None)
        if record is None or record.kind != wanted:
            where = f"byte {header.offset}" if record is None else f"byte {record.offset}"
            raise DumpInvalid(path, where, f"the {_NAMES[wanted]} record of a block is missing")
        contents.append(record.content if wanted == TOTAL_DIFFICULTY else _unpack(path, record))
    header_rlp, body_rlp, receipts_rlp, total_difficulty = contents
    if len(total_difficulty) != 32:
        raise DumpInvalid(path, f"byte {header.offset}", "a total difficulty is not 32 bytes long")
    return FileBlock(header_rlp, body_rlp, receipts_rlp, int.from_bytes(total_difficulty, "little"))


def _unpack(path: Path, record: _Record) -> bytes:
    try:
        return bytes(cramjam.snappy.decompress(record.content))
    except cramjam.DecompressionError as error:
        where = f"byte {record.offset}"
        raise DumpInvalid(path, where, f"a {_NAMES[record.kind]} record does not unpack: {error}") from error


def _number(path: Path, header_rlp: bytes) -> int:
    try:
        return decode_header(header_rlp).number
    except MalformedRlp as fault:
        raise DumpInvalid(path, "block 1 of the file", str(fault)) from fault


def _check_index(path: Path, index: _Record, first_number: int, starts: list[int]) -> None:
    where = f"block index at byte {index.offset}"
    count = len(starts)
    if not 0 < count <= MAX_BLOCKS or len(index.content) != 8 * (count + 2):
        raise DumpInvalid(path, where, f"its size does not fit the {count} blocks of the file")
    number, *offsets, index_count = struct.unpack(f"<Q{count}qQ", index.content)
    if index_count != count:
        raise DumpInvalid(path, where, f"it counts {index_count} blocks, {count} are there")
    if number != first_number:
        raise DumpInvalid(path, where, f"it starts at block {number}, the first one is {first_number}")
    for position, (offset, start) in enumerate(zip(offsets, starts, strict=True)):
        if index.offset + offset != start:
            raise DumpInvalid(path, where, f"it does not point to block {first_number + position}")
