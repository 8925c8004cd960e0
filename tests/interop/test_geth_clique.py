"""Clique networks that geth seals: we follow one sealer, and are the only way between two."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.geth import running_geth
from tests.support.clique_chain import NETWORK_ID, key_of, write_clique_genesis
from tests.support.stack import in_one_loop, in_one_loop_for, running_stack
from trisync.node_status import NodeStatus

pytestmark = pytest.mark.real_peer


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one, for the path of geth's IPC socket."""
    with tempfile.TemporaryDirectory(prefix="geth-") as path:
        yield Path(path)


def geth_binary() -> str:
    binary = shutil.which(os.environ.get("GETH_BIN") or "")
    if binary is None:
        pytest.skip("GETH_BIN names no geth that these tests can talk to (1.8 or 1.9, which speak eth/63)")
    return binary


@in_one_loop
async def test_we_follow_blocks_that_geth_seals_over_checkpoints(directory: Path) -> None:
    binary = geth_binary()
    genesis = write_clique_genesis(directory / "genesis.json", "A", epoch=4)
    sealer = ["--networkid", str(NETWORK_ID)]
    async with running_geth(binary, directory, genesis=genesis, network=sealer) as geth:
        account = await geth.call("personal_importRawKey", key_of("A").to_hex(), "")
        await geth.call("personal_unlockAccount", account, "", 600)
        await geth.call("miner_setEtherbase", account)
        await geth.call("miner_start", 1)
        async with running_stack(
            genesis=genesis, seal_check="clique", static_peers=[str(await geth.enode())], force_sync_cycle=1
        ) as stack:
            status = await stack.until_status(lambda now: now.head.number >= 10, "ten blocks of geth")
            block = await geth.call("eth_getBlockByNumber", hex(status.head.number), False)
            assert block["hash"] == "0x" + status.head.block_hash.hex()
            assert status.seal_check == "clique"


def is_at_least(number: int, status: NodeStatus) -> bool:
    return status.head.number >= number


BRIDGED_BLOCKS = 100
BRIDGED_S = 240.0
"""Of two sealers neither may sign two blocks in a row, so each of these went through us."""


@pytest.mark.timeout(BRIDGED_S + 20)
@in_one_loop_for(BRIDGED_S)
async def test_two_sealers_stay_in_consensus_when_only_we_connect_them(directory: Path) -> None:
    binary = geth_binary()
    genesis = write_clique_genesis(directory / "genesis.json", "AB")
    network = ["--networkid", str(NETWORK_ID)]
    async with contextlib.AsyncExitStack() as stack:
        sealers = []
        for name in "AB":
            home = directory / name
            home.mkdir()
            geth = await stack.enter_async_context(running_geth(binary, home, genesis=genesis, network=network))
            account = await geth.call("personal_importRawKey", key_of(name).to_hex(), "")
            await geth.call("personal_unlockAccount", account, "", 600)
            await geth.call("miner_setEtherbase", account)
            sealers.append(geth)
        bridge = await stack.enter_async_context(
            running_stack(
                genesis=genesis,
                seal_check="clique",
                static_peers=[str(await geth.enode()) for geth in sealers],
                force_sync_cycle=1,
            )
        )
        await bridge.until_peers(2)
        for geth in sealers:
            await geth.call("miner_start", 1)
        for number in range(1, BRIDGED_BLOCKS + 1):
            reached = functools.partial(is_at_least, number)
            status = await bridge.until_status(reached, f"block {number} of both sealers")
        assert [len(await geth.peers()) for geth in sealers] == [1, 1]
        block = await bridge.client.block(status.head.number - 2)
        assert block is not None
        for geth in sealers:
            found = await geth.call("eth_getBlockByNumber", hex(block.head.number), False)
            assert found["hash"] == "0x" + block.head.block_hash.hex()
        spread = [one async for one in bridge.client.blocks.watch_propagations(BRIDGED_BLOCKS)]
        # Each came from its sealer, and was for the other alone.
        assert {one.lacked_by for one in spread if one.propagated_to} == {1}
        assert {one.first_seen_from for one in spread} == {(await geth.enode()).node_id for geth in sealers}
