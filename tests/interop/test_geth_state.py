"""State and receipts across the wire with geth of the commit we follow: it serves us, and syncs fast from us."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.bodies import receipt_totals
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.limits import MAX_NODE_DATA_PER_REPLY
from services.shared.ethwire.messages import GetNodeData, GetReceipts, NodeData, Receipts
from services.shared.ethwire.rlp_slices import join_list, split_items, split_list
from services.shared.ethwire.types import Block, Header, StateEntry
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainUpdate, extend_blocks
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from tests.interop.geth import running_geth
from tests.interop.real_chain import CHAIN_FILE, real_chain
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.scripted_chain import ScriptedChain
from tests.support.stack import in_one_loop, running_stack
from tests.support.state_fetch import StateFetch

pytestmark = pytest.mark.real_peer

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "chains"
SMALL_GENESIS: Final = VECTORS / "besu-33-genesis.json"
SMALL_CHAIN_FILE: Final = VECTORS / "besu-33.blocks"
NETWORK_ID: Final = 1
"""What geth says where it is not told."""

REAL: Final = real_chain()
PIVOT: Final = REAL.head.number - 64
"""Where geth wants the state."""


@pytest.fixture
def binary() -> str:
    found = shutil.which(os.environ.get("GETH_BIN") or "")
    if found is None:
        pytest.skip("GETH_BIN names no geth that these tests can talk to (1.8 or 1.9, which speak eth/63)")
    return found


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one, for the path of geth's IPC socket."""
    with tempfile.TemporaryDirectory(prefix="geth-") as path:
        yield Path(path)


async def state_of(geth: Enode, chain: ScriptedChain, header: Header) -> dict[bytes, bytes]:
    """The whole state of a block that geth has, by our own download."""
    peer = await dial_in(geth, "alice", chain, network_id=NETWORK_ID)
    fetch = StateFetch(header.state_root, config=DownloaderConfig())
    while not fetch.download.is_complete:
        fetch.settle()
        if fetch.commit is not None:
            fetch.store()
        for request in list(fetch.open.values()):
            fetch.now += 0.1
            peer.send(GetNodeData(list(request.hashes)))
            reply = await peer.receive(NodeData)
            assert len(reply.values) == len(request.hashes) <= MAX_NODE_DATA_PER_REPLY
            fetch.answer(request, [StateEntry(value, keccak256(value)) for value in reply.values])
    return fetch.chain.state


def small_chain() -> ScriptedChain:
    dump = SMALL_CHAIN_FILE.read_bytes()
    blocks = [split_list(block) for block in split_items(dump, 0, len(dump))]
    return ScriptedChain((header, join_list([transactions, uncles])) for header, transactions, uncles in blocks)


@in_one_loop
async def test_state_and_receipts_of_geth_are_whole_and_those_of_the_headers(binary: str, directory: Path) -> None:
    chain = small_chain()
    async with running_geth(binary, directory, SMALL_CHAIN_FILE, genesis=SMALL_GENESIS) as geth:
        enode = await geth.enode()
        state = await state_of(enode, chain, chain.headers[-1])
        assert chain.headers[-1].state_root in state
        peer = await dial_in(enode, "bob", chain, network_id=NETWORK_ID)
        peer.send(GetReceipts([header.hash for header in chain.headers]))
        reply = await peer.receive(Receipts)
        for header, receipts_rlp in zip(chain.headers, reply.receipts_rlp, strict=True):
            totals = receipt_totals(receipts_rlp)
            assert totals == (header.receipts_root, header.bloom, header.gas_used)
        assert any(header.gas_used for header in chain.headers)


@in_one_loop
async def test_geth_syncs_fast_from_us_when_we_hold_the_states_it_asks_for(binary: str, directory: Path) -> None:
    first, second = directory / "first", directory / "second"
    first.mkdir()
    second.mkdir()
    dump = gzip.decompress(CHAIN_FILE.read_bytes())
    cut = first / "until-pivot.rlp"
    cut.write_bytes(b"".join(split_items(dump, 0, len(dump))[: PIVOT + 1]))
    chain = ScriptedChain(zip((header.header_rlp for header in REAL.headers), REAL.bodies_rlp, strict=True))
    # Geth keeps the state of the block it stopped at. Fast, it asks for that of our head first, then for the pivot's.
    state: dict[bytes, bytes] = {}
    for file, header in ((cut, REAL.headers[PIVOT]), (CHAIN_FILE, REAL.head)):
        async with running_geth(binary, first, file) as source:
            state |= await state_of(await source.enode(), chain, header)
    async with running_stack(network="mainnet") as stack:
        await stack.coordinator.stop()
        fill(stack.datadir, state)
        await stack.coordinator.start()
        async with running_geth(binary, second, network=["--syncmode", "fast"]) as geth:
            await geth.call("admin_addPeer", str(stack.enode))

            async def is_synced() -> bool:
                return await geth.head() == REAL.head.number

            await until(is_synced, "geth at our head")
            assert "0x" + REAL.head.hash.hex() == (await geth.call("eth_getBlockByNumber", "latest", False))["hash"]
            # It has the genesis block's state itself, which is most of it.
            assert await stack.coordinator.metric('coordinator_served_bytes_total{kind="state"}') > 10_000
            # Said when the sync is through, a moment after its last block.
            await until(lambda: "Fast sync complete" in (second / "log").read_text(), "geth's own word for it")


def fill(datadir: Path, state: dict[bytes, bytes]) -> None:
    """All blocks and the pivot's state into a coordinator's store."""
    store = LmdbChainStore.open(store_path(datadir), REAL.headers[0])
    blocks = [Block(header, body) for header, body in zip(REAL.headers[1:], REAL.bodies_rlp[1:], strict=True)]
    store.commit(extend_blocks(store, blocks))
    entries = [StateEntry(value, entry_hash) for entry_hash, value in state.items()]
    store.commit(ChainUpdate(heads=store.heads(), state_entries=entries, pivot=REAL.headers[PIVOT].hash))
    store.close()
