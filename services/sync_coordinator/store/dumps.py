"""Chains in files: geth's dumps (block RLP after block RLP, plain or gzipped) and era1 archives.

The kind is told by the content, not by the name.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Final, cast

from services.shared.ethwire.bodies import split_block
from services.shared.ethwire.faults import MalformedRlp
from services.sync_coordinator.store.era1 import read_era1
from services.sync_coordinator.store.file_block import MAX_BLOCK_BYTES, DumpInvalid, FileBlock, read_exactly

BUFFER_BYTES: Final = 1024 * 1024
GZIP_MAGIC: Final = b"\x1f\x8b"
ERA1_MAGIC: Final = b"\x65\x32"
"""The type of an e2store version record, little-endian."""


def read_chain_file(path: Path) -> Iterator[FileBlock]:
    """The blocks of the file in its order. Raises DumpInvalid where it cannot go on."""
    with _opened(path) as (magic, stream):
        if magic == ERA1_MAGIC:
            yield from read_era1(path, stream)
            return
        for where, block_rlp in _frames(path, stream):
            try:
                header_rlp, body_rlp = split_block(block_rlp)
            except MalformedRlp as fault:
                raise DumpInvalid(path, where, str(fault)) from fault
            yield FileBlock(header_rlp, body_rlp)


def count_blocks(path: Path) -> int:
    """Reads the file to its end, checking that it is whole but not what its blocks hold. Raises DumpInvalid."""
    with _opened(path) as (magic, stream):
        frames: Iterator[object] = read_era1(path, stream) if magic == ERA1_MAGIC else _frames(path, stream)
        return sum(1 for _ in frames)


def write_dump(path: Path, blocks: Iterable[bytes]) -> int:
    """Writes block RLPs, gzipped when the name ends in .gz; the file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with partial.open("wb", buffering=BUFFER_BYTES) as file:
            with _packed(path, file) as out:
                for block_rlp in blocks:
                    out.write(block_rlp)
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


@contextmanager
def _opened(path: Path) -> Iterator[tuple[bytes, BinaryIO]]:
    """The first two bytes, which tell the kind, and the unpacked content."""
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            magic = file.read(2)
            file.seek(0)
            if not magic:
                raise DumpInvalid(path, "", "the file is empty")
            if magic != GZIP_MAGIC:
                yield magic, file
                return
            with gzip.open(file) as unpacked:
                yield magic, cast(BinaryIO, unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DumpInvalid(path, "", f"the gzip file is cut off or damaged: {error}") from error
    except OSError as error:
        raise DumpInvalid(path, "", f"the file cannot be read: {error.strerror or error}") from error


def _packed(path: Path, file: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Where blocks are written; no name or time in the gzip header, so that equal chains give equal files."""
    if path.suffix != ".gz":
        return nullcontext(file)
    return cast(
        AbstractContextManager[BinaryIO],
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0),
    )


def _frames(path: Path, stream: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """(where it stands, RLP) of each top-level list."""
    index, offset = 1, 0
    while prefix := stream.read(1):
        where = f"block {index} of the file (byte {offset})"
        block_rlp = prefix + _rest_of_list(path, stream, prefix[0], where)
        yield where, block_rlp
        index, offset = index + 1, offset + len(block_rlp)


def _rest_of_list(path: Path, stream: BinaryIO, prefix: int, where: str) -> bytes:
    """What follows the first byte of a list: the bytes of its length, and its payload."""
    if prefix < 0xC0:
        raise DumpInvalid(path, where, "no block starts here; the file is neither a chain dump nor an era1 archive")
    if prefix < 0xF8:
        return read_exactly(path, stream, prefix - 0xC0, where)
    length = read_exactly(path, stream, prefix - 0xF7, where)
    size = int.from_bytes(length)
    if size > MAX_BLOCK_BYTES:
        raise DumpInvalid(path, where, f"a block of {size} bytes is not possible")
    return length + read_exactly(path, stream, size, where)
