"""`python -m services.sync_coordinator.store.probe STORE [--write]`: reads a store like whoever opens it next.

LMDB trusts its file, and a damaged page can end the process that reads it. So this process goes first:
the ends of every table, entries spread over each, and with `--write` a write that is given up again. It
takes a fraction of a second whatever the size, so it says that the store can be opened, not that it is
whole. Exit code 0, or 1 with what is wrong as the last line on stderr.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import lmdb

from services.sync_coordinator.store.data_file import damaged
from services.sync_coordinator.store.tables import PUTS_PER_CALL, Table, Tables, Transaction

WITHIN_S: Final = 60.0
"""How long the process may take; damage can make a read go in circles."""

ENTRIES_AT_ENDS: Final = 32
SPREAD_ENTRIES: Final = 16
"""Of each table; on a slow disk each may cost a seek or two."""

_FAILED: Final = 1
_MAP_BYTES: Final = 1 << 30
"""LMDB maps all of a larger file."""


def probe(path: Path, *, writes: bool) -> None:
    """Opens the store at `path` in a process of its own. Raises StoreRefused with what that process died of."""
    command = [sys.executable, "-m", __spec__.name, str(path), *(["--write"] if writes else [])]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise damaged(path, f"reading it took more than {WITHIN_S:.0f} s") from None
    if ended.returncode == 0:
        return
    lines = ended.stderr.strip().splitlines()
    if ended.returncode == _FAILED and lines:
        raise damaged(path, lines[-1])
    raise damaged(path, f"a process that read it was ended by {_name_of_end(ended.returncode)}")


def read_around(path: Path, *, writes: bool) -> None:
    """What the process does. Raises lmdb.Error."""
    with lmdb.open(
        str(path), map_size=_MAP_BYTES, readonly=not writes, create=False, max_dbs=len(Table), readahead=False
    ) as env:
        with env.begin() as txn:
            names = {bytes(key) for key, _ in txn.cursor()}
        tables = {table: env.open_db(table.value, create=False) for table in Table if table.value in names}
        with env.begin() as txn:
            for table in tables.values():
                _read_table(txn, table)
        if writes:
            _write_and_give_up(env, tables)


def _read_table(txn: Transaction, table: lmdb._Database) -> None:
    cursor = txn.cursor(table)
    for place, step in ((cursor.first, cursor.next), (cursor.last, cursor.prev)):
        more = place()
        for _ in range(ENTRIES_AT_ENDS):
            if not more:
                break
            cursor.item()
            more = step()
    if not cursor.first():
        return
    first = cursor.key()
    cursor.last()
    size = max(len(first), len(cursor.key()))
    low, high = int.from_bytes(first.ljust(size, b"\0")), int.from_bytes(cursor.key().ljust(size, b"\xff"))
    rng = random.Random(size)
    for _ in range(SPREAD_ENTRIES):
        if cursor.set_range(rng.randint(low, high).to_bytes(size)):
            cursor.item()


def _write_and_give_up(env: lmdb.Environment, tables: Tables) -> None:
    """Takes the way of a commit: new pages from the free list, at the end of tables and inside."""
    with env.begin(write=True) as txn:
        for table in tables.values():
            cursor = txn.cursor(table)
            key = cursor.key() if cursor.last() else b""
            cursor.putmulti([(key[:8] + number.to_bytes(32), bytes(64)) for number in range(PUTS_PER_CALL)])
        txn.abort()


def _name_of_end(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


if __name__ == "__main__":
    try:
        read_around(Path(sys.argv[1]), writes="--write" in sys.argv[2:])
    except (lmdb.Error, OSError, ValueError) as error:
        sys.exit(str(error).splitlines()[0])
