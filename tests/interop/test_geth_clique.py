"""A clique network whose only sealer is geth: we follow it, and geth follows what we have of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.geth import running_geth
from tests.support.clique_chain import NETWORK_ID, key_of, write_clique_genesis
from tests.support.stack import in_one_loop, running_stack

pytestmark = pytest.mark.real_peer


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one, for the path of geth's IPC socket."""
    with tempfile.TemporaryDirectory(prefix="geth-") as path:
        yield Path(path)


@in_one_loop
async def test_we_follow_blocks_that_geth_seals_over_checkpoints(directory: Path) -> None:
    binary = shutil.which(os.environ.get("GETH_BIN") or "")
    if binary is None:
        pytest.skip("GETH_BIN names no geth that these tests can talk to (1.8 or 1.9, which speak eth/63)")
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
