"""The nodes that discovery knew, for the next start, in one SQLite file (geth `p2p/enode/nodedb.go`)."""

from __future__ import annotations

import contextlib
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log

FILE_NAME: Final = "nodes.sqlite"

SEED_COUNT: Final = 30
"""Nodes that a start begins with, beside boot nodes (geth `seedCount`)."""

SEED_MAX_AGE_S: Final = 5 * 24 * 3600.0
"""Nodes that have been silent for longer are not worth a Ping (geth `seedMaxAge`)."""

NODE_LIFETIME_S: Final = 24 * 3600.0
"""A node without a Pong for this long is forgotten (geth `dbNodeExpiration`)."""

EXPIRE_INTERVAL_S: Final = 3600.0
"""How often that is looked at. Not at the start: after a long stop all nodes are old, and the best there are."""

WRITES_QUEUED: Final = 4_096
"""Writes that may wait for a slow disk; more are lost, and counted."""

BATCH_S: Final = 0.5
"""How long the writer gathers before it commits: a write to disk costs the same for one node as for fifty."""

CLOSE_PATIENCE_S: Final = 2.0
"""How long a stop waits for the last writes."""

_APPLICATION_ID: Final = 0x74726E64
"""Marks the file as ours ("trnd")."""

_VERSION: Final = 1

_SCHEMA: Final = f"""
CREATE TABLE nodes (
    node_id BLOB PRIMARY KEY, host TEXT NOT NULL, tcp_port INTEGER NOT NULL, udp_port INTEGER NOT NULL,
    last_pong REAL NOT NULL, find_failures INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""

Write = tuple[str, Sequence[object]]
"""An SQL statement and its values."""


class NodeDatabase:
    """Nothing here waits for the disk but `seeds`, `close` and the constructor; one thread writes, in batches.

    It is a memory, not a ledger: what cannot be written is lost, with one line in the log.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """A file that is damaged or not ours is set aside under another name."""
        self._path, self._clock = path, clock
        self._log = get_log("node-database")
        self._writes: queue.Queue[Write | None] = queue.Queue(WRITES_QUEUED)
        self._is_writable = True
        self._expire_at = clock() + EXPIRE_INTERVAL_S
        self._prepare()
        self._writer = threading.Thread(target=self._write, name="node-database", daemon=True)
        self._writer.start()

    def store_node(self, node: Enode, last_pong_unix_s: float, find_failures: int) -> None:
        """Remember a node that answered."""
        row = (node.node_id, node.host, node.tcp_port, node.udp_port, last_pong_unix_s, find_failures)
        self._put("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?)", row)

    def seeds(self, rng: random.Random) -> list[Enode]:
        """Random nodes of the last days. Reads the disk: not for the event loop."""
        query = "SELECT node_id, host, tcp_port, udp_port FROM nodes WHERE last_pong > ? ORDER BY node_id"
        try:
            with contextlib.closing(self._connect()) as connection:
                rows = connection.execute(query, (self._clock() - SEED_MAX_AGE_S,)).fetchall()
        except sqlite3.Error as problem:
            self._log.warning("the node database cannot be read", path=str(self._path), why=str(problem))
            return []
        return _nodes(rng.sample(rows, min(SEED_COUNT, len(rows))))

    def close(self) -> None:
        """Write what waits, for a moment."""
        with contextlib.suppress(queue.Full):
            self._writes.put(None, timeout=CLOSE_PATIENCE_S)
        self._writer.join(CLOSE_PATIENCE_S)

    def _put(self, statement: str, values: Sequence[object]) -> None:
        if self._is_writable:
            with contextlib.suppress(queue.Full):
                self._writes.put_nowait((statement, values))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=CLOSE_PATIENCE_S)

    def _prepare(self) -> None:
        """Make or check the file."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._check()
        except (OSError, sqlite3.OperationalError) as problem:
            self._do_without(problem)
        except sqlite3.DatabaseError as problem:
            self._begin_anew(problem)

    def _begin_anew(self, problem: sqlite3.DatabaseError) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(self._clock())}")
        self._log.warning(
            "the node database is damaged or not ours; a new one is begun", why=str(problem), kept_as=str(aside)
        )
        try:
            self._path.rename(aside)
            self._check()
        except (OSError, sqlite3.Error) as problem:
            self._do_without(problem)

    def _check(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            marks = _pragma(connection, "application_id"), _pragma(connection, "user_version")
            if marks != (_APPLICATION_ID, _VERSION):
                if _pragma(connection, "schema_version"):
                    raise sqlite3.DatabaseError(f"its marks are {marks[0]:#x} and {marks[1]}")
                connection.executescript(_SCHEMA)
            damage = str(_pragma(connection, "quick_check"))
            if damage != "ok":
                raise sqlite3.DatabaseError(damage)

    def _do_without(self, problem: Exception) -> None:
        self._is_writable = False
        self._log.warning("nodes are not remembered over a restart", path=str(self._path), why=str(problem))

    def _write(self) -> None:
        """The writer's thread: gather, write, commit, until told to end."""
        while True:
            batch = [self._writes.get()]
            until = time.monotonic() + BATCH_S
            with contextlib.suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self._writes.get(timeout=max(0.0, until - time.monotonic())))
            self._commit([write for write in batch if write is not None])
            if batch[-1] is None:
                return

    def _commit(self, batch: Iterable[Write]) -> None:
        if not self._is_writable:
            return
        try:
            with contextlib.closing(self._connect()) as connection, connection:
                for statement, values in batch:
                    connection.execute(statement, values)
                if self._clock() >= self._expire_at:
                    self._expire_at = self._clock() + EXPIRE_INTERVAL_S
                    connection.execute("DELETE FROM nodes WHERE last_pong < ?", (self._clock() - NODE_LIFETIME_S,))
        except sqlite3.Error as problem:
            self._do_without(problem)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _nodes(rows: Iterable[Sequence[Any]]) -> list[Enode]:
    """The rows that are nodes; a file that passes its checks may still hold what we did not write."""
    nodes = []
    for node_id, host, tcp_port, udp_port in rows:
        is_node = isinstance(node_id, bytes) and len(node_id) == 64 and isinstance(host, str)
        if is_node and all(isinstance(port, int) and 0 <= port < 65_536 for port in (tcp_port, udp_port)):
            nodes.append(Enode(PeerId(node_id), host, tcp_port, udp_port))
    return nodes
