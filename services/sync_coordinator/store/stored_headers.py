"""The headers of a store as its check reads them."""

from __future__ import annotations

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.tables import Table


class StoredHeaders:
    """What seals are judged by: headers that are the ones their hashes name, and no seal state."""

    def __init__(self, tables: RawTables) -> None:
        self._tables = tables

    def header(self, block_hash: BlockHash) -> Header | None:
        number = self._tables.get(Table.NUMBERS, block_hash)
        header_rlp = None if number is None else self._tables.get(Table.HEADERS, number + block_hash)
        if header_rlp is None or keccak256(header_rlp) != block_hash:
            return None
        return decode_header(header_rlp, block_hash)

    def seal_state(self, block_hash: BlockHash) -> bytes | None:
        """None: the ones in the store are what is to be checked."""
