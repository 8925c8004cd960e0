"""What every kind of chain file is read as, and the one error of reading them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

MAX_BLOCK_BYTES: Final = 64 * 1024 * 1024
"""No block of a total-difficulty chain comes near; a larger length is a damaged file, not a block."""


class DumpInvalid(Exception):
    """A chain file that cannot be read to its end. One line for the operator."""

    def __init__(self, path: Path, where: str, problem: str) -> None:
        super().__init__(f"{path}: {where}: {problem}" if where else f"{path}: {problem}")
        self.path, self.where, self.problem = path, where, problem


class FileBlock(NamedTuple):
    """One block as its file has it. `receipts_rlp` and `total_difficulty` only come from era1."""

    header_rlp: bytes
    body_rlp: bytes
    receipts_rlp: bytes | None = None
    total_difficulty: int | None = None


def read_exactly(path: Path, stream: BinaryIO, size: int, where: str) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise DumpInvalid(path, where, f"the file is cut off, {size - len(content)} bytes are missing")
    return content
