"""Watches `static-nodes.json` and `trusted-nodes.json` in the data directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from services.shared.chainspec.enode import Enode
from services.sync_coordinator.core.node_file import NodeFileBroken, parse_node_file

STATIC_NODES: Final = "static-nodes.json"
TRUSTED_NODES: Final = "trusted-nodes.json"

POLL_S: Final = 2.0
"""How soon a change is noticed; looking costs one system call a file."""

MAX_FILE_BYTES: Final = 1024 * 1024
"""About 5,000 nodes. A larger file is refused unread: it would keep the event loop."""

SHOWN_PROBLEMS: Final = 10
"""Wrong entries of one file that get a line each."""

TakeNodes = Callable[[Sequence[Enode]], None]

_log = structlog.get_logger("node-files")


class _Stamp(NamedTuple):
    """What changes whenever a file does."""

    inode: int
    size_bytes: int
    changed_ns: int


_ABSENT: Final = _Stamp(0, 0, 0)
_UNSEEN: Final = _Stamp(0, 0, -1)


class NodeFile:
    """One file. Its content is handed on whenever it changed; a broken one is told once and changes nothing."""

    def __init__(self, path: Path, take: TakeNodes) -> None:
        self._path, self._take = path, take
        self._stamp = _ABSENT
        self._content = b""

    def poll(self) -> None:
        """Look whether the file is another one than last time. A file that is gone lists nobody."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            content = b"[]" if stamp == _ABSENT else self._read(stamp)
            if content == self._content:
                return
            self._content = content
            listed = parse_node_file(content)
        except (OSError, NodeFileBroken) as problem:
            why = problem.strerror.lower() if isinstance(problem, OSError) and problem.strerror else str(problem)
            _log.error("a list of nodes cannot be used; the one before it stays", path=str(self._path), why=why)
            return
        for text in listed.problems[:SHOWN_PROBLEMS]:
            _log.error("an entry of a list of nodes is left out", path=str(self._path), why=text)
        if len(listed.problems) > SHOWN_PROBLEMS:
            _log.error("more entries are left out", path=str(self._path), count=len(listed.problems) - SHOWN_PROBLEMS)
        _log.info("list of nodes read", path=str(self._path), nodes=len(listed.nodes))
        self._take(listed.nodes)

    def _look(self) -> _Stamp:
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return _ABSENT
        except OSError:
            # To be told by the attempt to read it, once.
            return _UNSEEN
        return _Stamp(found.st_ino, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns))

    def _read(self, stamp: _Stamp) -> bytes:
        if stamp.size_bytes > MAX_FILE_BYTES:
            raise NodeFileBroken(f"it has {stamp.size_bytes} bytes, and {MAX_FILE_BYTES} are the most that is read")
        with self._path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)


def read_node_files(datadir: Path, take_static: TakeNodes, take_trusted: TakeNodes) -> list[NodeFile]:
    """Both files of a data directory, read once."""
    files = [NodeFile(datadir / STATIC_NODES, take_static), NodeFile(datadir / TRUSTED_NODES, take_trusted)]
    for file in files:
        file.poll()
    return files


async def watch_node_files(files: Sequence[NodeFile]) -> None:
    """Poll until cancelled."""
    while True:
        await asyncio.sleep(POLL_S)
        for file in files:
            file.poll()
