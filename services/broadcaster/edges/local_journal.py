"""Local transactions on disk, so that a restart does not lose them: a line of hex each.

A line that begins with a minus takes back the transaction of that hash. A line is whole when it ends: what a killed
process left of its last line is passed over. When most lines are of no use any more, the file is written anew beside
the old one and takes its place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from services.broadcaster.core.transaction import decode_transaction
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.types import TransactionHash

JOURNAL_NAME: Final = "local-transactions.hex"
SPARE_LINES: Final = 256
"""Lines that may be of no use before the file is written anew, beside as many as are of use."""

MAX_LINE_BYTES: Final = 2 * 32 * 1024
"""A longer line is no transaction that was ever pooled."""


class JournalContent(NamedTuple):
    """What a start finds."""

    transactions: list[bytes]
    bad_lines: int


class LocalJournal:
    """Blocking: called in a thread, by one caller at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / JOURNAL_NAME
        self._lines = 0
        self._is_torn = False

    @property
    def path(self) -> Path:
        return self._path

    def read(self) -> JournalContent:
        """What was added and not taken back, each once. A file that is not there is empty. Raises OSError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return JournalContent([], 0)
        kept: dict[TransactionHash, bytes] = {}
        *lines, torn = content.split(b"\n")
        self._lines, self._is_torn = len(lines), bool(torn)
        bad = int(self._is_torn)
        for line in lines:
            try:
                _read_line(line, kept)
            except (ValueError, MalformedRlp):
                bad += bool(line)
        return JournalContent(list(kept.values()), bad)

    def append(self, added: Iterable[bytes], gone: Iterable[TransactionHash] = ()) -> None:
        """On disk when it returns. Raises OSError."""
        lines = [f"{transaction.hex()}\n" for transaction in added] + [f"-{one.hex()}\n" for one in gone]
        # A write that failed half-way left a half line: the next one must not grow out of it.
        content = ("\n" if self._is_torn else "") + "".join(lines)
        self._is_torn = True
        with self._path.open("ab", buffering=0) as file:
            _write_all(file.fileno(), content.encode())
            os.fsync(file.fileno())
        self._is_torn = False
        self._lines += len(lines)

    def is_worn(self, in_use: int) -> bool:
        """Whether most lines are of no use."""
        return self._lines > 2 * in_use + SPARE_LINES

    def rewrite(self, transactions: Iterable[bytes]) -> None:
        """Put a new file in the place of the old one; after a crash it is one of the two, whole. Raises OSError."""
        lines = [f"{transaction.hex()}\n" for transaction in transactions]
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            _write_all(file.fileno(), "".join(lines).encode())
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._lines, self._is_torn = len(lines), False
        with contextlib.suppress(OSError):
            # Some file systems have no directories to sync; the rename is then theirs to keep.
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _read_line(line: bytes, kept: dict[TransactionHash, bytes]) -> None:
    """Raises ValueError or MalformedRlp for what no `append` wrote."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("too long")
    content = bytes.fromhex(line.removeprefix(b"-").decode("ascii"))
    if line.startswith(b"-"):
        kept.pop(TransactionHash(content), None)
    else:
        kept[decode_transaction(content).hash] = content


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
