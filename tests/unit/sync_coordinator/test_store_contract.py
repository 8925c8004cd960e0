"""Every chain store keeps the same contract."""

from __future__ import annotations

from pathlib import Path

from services.sync_coordinator.store.chain_store import ChainStore
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.chain_maker import made_genesis
from tests.support.memory_store import MemoryStore
from tests.support.store_contract import DurableStoreContract, StoreContract


class TestLmdbChainStore(DurableStoreContract):
    def open_store(self, path: Path) -> ChainStore:
        return LmdbChainStore.open(path, made_genesis().head, map_bytes=1 << 18)

    def close_store(self, store: ChainStore) -> None:
        assert isinstance(store, LmdbChainStore)
        store.close()


class TestMemoryStore(StoreContract):
    def open_store(self, path: Path) -> ChainStore:
        return MemoryStore()
