"""A fast sync of our whole stack from geth: real mainnet blocks with their real state.

GETH_BIN names the binary.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pytest

from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.tables import Table
from tests.interop.geth import running_geth
from tests.interop.real_chain import CHAIN_FILE, real_chain
from tests.support.mainnet import with_state
from tests.support.scripted_chain import ScriptedChain
from tests.support.stack import in_one_loop, running_stack

pytestmark = pytest.mark.real_peer

REAL: Final = real_chain()


@cache
def chain() -> ScriptedChain:
    return with_state(REAL.headers, REAL.bodies_rlp)


@in_one_loop
async def test_we_sync_fast_from_geth_when_it_has_the_state(geth_binary: str, geth_directory: Path) -> None:
    async with running_geth(geth_binary, geth_directory, CHAIN_FILE) as geth:
        enode = str(await geth.enode())
        async with running_stack(
            network="mainnet", seal_check="ethash", syncmode="fast", static_peers=[enode], force_sync_cycle=2
        ) as stack:
            status = await stack.until_head(REAL.head)
            assert status.head.total_difficulty == REAL.total_difficulty
            await stack.coordinator.stop()
            store = LmdbChainStore.open(store_path(stack.datadir), None, read_only=True)
            try:
                with store.snapshot() as snapshot:
                    assert dict(snapshot.entries(Table.STATE)) == chain().state_entries
            finally:
                store.close()
