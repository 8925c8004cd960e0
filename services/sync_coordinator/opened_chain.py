"""What is opened first, for it may be refused: the network, the chain store, the check of seals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from services.shared.chainspec.genesis import Genesis, GenesisInvalid, load_genesis
from services.shared.chainspec.networks import UnknownNetwork, network
from services.shared.runtime.faults import ConfigInvalid, StartRefused
from services.sync_coordinator.config import CoordinatorConfig
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.edges.seal_workers import SealCheck, SealCheckRefused, open_seal_check
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.probe import probe


@dataclass(frozen=True, slots=True)
class OpenedChain:
    """The chain that this node is to follow, its store, and who checks seals."""

    genesis: Genesis
    network_id: int
    store: LmdbChainStore
    rules: ChainRules
    seals: SealCheck
    seal_check: str
    feed_reader: ThreadPoolExecutor


@asynccontextmanager
async def open_chain(config: CoordinatorConfig) -> AsyncIterator[OpenedChain]:
    """Open the store for as long as it is used. Raises ConfigInvalid or StartRefused."""
    try:
        if config.network is not None:
            genesis, default_id = network(config.network).genesis, network(config.network).network_id
        else:
            assert config.genesis is not None
            genesis = load_genesis(config.genesis)
            default_id = genesis.spec.chain_id
        wanted = None if config.seal_check == "auto" else config.seal_check
        seals = open_seal_check(genesis, wanted, config.seal_workers or None)
    except (GenesisInvalid, UnknownNetwork, SealCheckRefused) as problem:
        raise ConfigInvalid(str(problem)) from problem
    try:
        store = LmdbChainStore.open(store_path(config.datadir), genesis.header, probe=probe)
    except StoreRefused as problem:
        raise StartRefused(str(problem)) from problem
    feed_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed-reader")
    try:
        yield OpenedChain(
            genesis=genesis,
            network_id=config.networkid or default_id,
            store=store,
            rules=ChainRules(genesis.spec),
            seals=seals,
            seal_check=wanted or genesis.spec.seal_engine,
            feed_reader=feed_reader,
        )
    finally:
        feed_reader.shutdown()
        await seals.close()
        store.close()


async def end_when_damaged(store: LmdbChainStore) -> NoReturn:
    """A store that cannot be read any more ends the service, whoever met the damage. Raises StoreFailed."""
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[StoreFailed] = loop.create_future()

    def settle(found: StoreFailed) -> None:
        if not failure.done():
            failure.set_result(found)

    def report(found: StoreFailed) -> None:
        loop.call_soon_threadsafe(settle, found)

    store.on_damage(report)
    raise await failure
