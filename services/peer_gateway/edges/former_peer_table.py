"""Former peers on disk, in the gateway's data directory."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Self

from services.peer_gateway.core.former_peers import FORMER_PEERS, ForgetfulPeers, FormerPeer, FormerPeers
from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log

FILE_NAME: Final = "former-peers.sqlite"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS former_peers (
    node_id BLOB PRIMARY KEY, enode TEXT, last_dialled REAL, was_inbound INTEGER NOT NULL DEFAULT 1
)
"""
_ADD_DIRECTION: Final = "ALTER TABLE former_peers ADD COLUMN was_inbound INTEGER NOT NULL DEFAULT 1"
"""For a table that has no directions: who may have connected by itself is taken for such a one."""

_log = get_log("former-peers")


class FormerPeerTable:
    """Implements `FormerPeers`. Each change is one small transaction that waits for no disk, so it outlives this
    process but maybe not the machine. A disk that fails costs the memory of peers, never a peer."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error or OSError where there is no usable file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)
        if "was_inbound" not in [name for _, name, *_ in self._database.execute("PRAGMA table_info(former_peers)")]:
            self._database.execute(_ADD_DIRECTION)
        self._has_failed = False

    @classmethod
    def open(cls, datadir: Path) -> Self:
        """The table of a data directory; a damaged file is replaced by an empty one."""
        path = datadir / FILE_NAME
        try:
            table = cls(path)
            table.recall()
        except sqlite3.DatabaseError as problem:
            _log.warning("the list of former peers is damaged and starts anew", path=str(path), why=str(problem))
            for each in (path, path.with_name(f"{FILE_NAME}-wal"), path.with_name(f"{FILE_NAME}-shm")):
                each.unlink(missing_ok=True)
            table = cls(path)
        return table

    def close(self) -> None:
        self._database.close()

    def recall(self) -> list[FormerPeer]:
        rows = self._database.execute(
            "SELECT enode, last_dialled, was_inbound FROM former_peers ORDER BY rowid DESC LIMIT ?", (FORMER_PEERS,)
        ).fetchall()
        found = []
        for enode, last_dialled, was_inbound in reversed(rows):
            try:
                found.append(FormerPeer(parse_enode(str(enode)), float(last_dialled), bool(was_inbound)))
            except (EnodeInvalid, TypeError, ValueError) as problem:
                _log.warning("a former peer is passed over", why=str(problem))
        return found

    def remember(self, peer: FormerPeer) -> None:
        self._write(
            "INSERT OR REPLACE INTO former_peers (node_id, enode, last_dialled, was_inbound) VALUES (?, ?, ?, ?)",
            (peer.node.node_id, str(peer.node), peer.last_dialled_unix_s, peer.was_inbound),
        )

    def forget(self, node_id: PeerId) -> None:
        self._write("DELETE FROM former_peers WHERE node_id = ?", (node_id,))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as problem:
            if not self._has_failed:
                self._has_failed = True
                _log.warning("former peers are not kept any more", why=str(problem))


def open_former_peers(datadir: Path | None) -> FormerPeers:
    """What this gateway remembers across a restart; nothing without a data directory, or where that is unusable."""
    if datadir is None:
        return ForgetfulPeers()
    try:
        return FormerPeerTable.open(datadir)
    except (sqlite3.Error, OSError) as problem:
        _log.warning("former peers are not kept", datadir=str(datadir), why=str(problem))
        return ForgetfulPeers()
