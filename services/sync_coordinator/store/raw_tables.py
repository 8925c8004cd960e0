"""The tables of a store as they lie there, for checking and copying whole stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from services.sync_coordinator.store.tables import Table


class RawTables(Protocol):
    """One unchanging view of every table."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def count(self, table: Table) -> int: ...

    def entries(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) of a table in key order."""
        ...
