"""Fast syncs between our whole stack and geth, both ways, of real mainnet blocks with their real state.

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
from tests.support.chain_peers import dial_in, until_shown
from tests.support.deadlines import until
from tests.support.mainnet import with_state
from tests.support.scripted_chain import ScriptedChain
from tests.support.stack import in_one_loop, running_stack

pytestmark = pytest.mark.real_peer

NETWORK_ID: Final = 1
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
            store = LmdbChainStore.open(store_path(stack.datadir), None, read_only=True)
            try:
                with store.snapshot() as snapshot:
                    assert dict(snapshot.entries(Table.STATE)) == chain().state_entries
            finally:
                store.close()


@in_one_loop
async def test_geth_syncs_fast_from_us_when_we_have_synced_fast(geth_binary: str, geth_directory: Path) -> None:
    async with (
        running_stack(network="mainnet", syncmode="fast") as stack,
        running_geth(geth_binary, geth_directory, syncmode="fast") as geth,
    ):
        await dial_in(stack.enode, "alice", chain(), network_id=NETWORK_ID)
        await stack.until_head(REAL.head)
        await until_shown(stack.enode, chain().status(NETWORK_ID))
        assert await geth.call("admin_addPeer", str(stack.enode))

        async def is_synced() -> bool:
            return await geth.head() == REAL.head.number

        await until(is_synced, "geth at our head, with the state")
