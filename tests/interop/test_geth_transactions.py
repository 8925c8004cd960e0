"""Two geth nodes of a clique network that only trisync connects: a transaction sent to one is mined by the other."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.shared.ethwire.hashing import keccak256
from tests.interop.geth import Geth, running_geth
from tests.support.clique_chain import NETWORK_ID, genesis_content, key_of
from tests.support.deadlines import until
from tests.support.stack import in_one_loop, running_stack
from tests.support.transactions import Draft, address_of
from trisync.transactions import FateKind

pytestmark = pytest.mark.real_peer

RICH = 1


@pytest.fixture
def directories() -> Iterator[tuple[Path, Path]]:
    """Short ones, for the paths of geth's IPC sockets."""
    with tempfile.TemporaryDirectory(prefix="geth-") as first, tempfile.TemporaryDirectory(prefix="geth-") as second:
        yield Path(first), Path(second)


def write_genesis(directory: Path) -> Path:
    """Sealed by A, a block a second, with an account that can pay."""
    content = {**genesis_content("A"), "alloc": {address_of(RICH).hex(): {"balance": hex(10**24)}}}
    path = directory / "genesis.json"
    path.write_text(json.dumps(content))
    return path


async def start_sealing(geth: Geth) -> None:
    account = await geth.call("personal_importRawKey", key_of("A").to_hex(), "")
    await geth.call("personal_unlockAccount", account, "", 600)
    await geth.call("miner_setEtherbase", account)
    await geth.call("miner_start", 1)


async def until_mined(geth: Geth, draft: Draft) -> None:
    wanted = "0x" + keccak256(draft.raw()).hex()

    async def is_mined() -> bool:
        return await geth.call("eth_getTransactionReceipt", wanted) is not None

    await until(is_mined, f"a receipt of {wanted}")


@in_one_loop
async def test_transaction_sent_to_one_geth_is_mined_by_another_that_only_we_connect(
    directories: tuple[Path, Path],
) -> None:
    binary = shutil.which(os.environ.get("GETH_BIN") or "")
    if binary is None:
        pytest.skip("GETH_BIN names no geth that these tests can talk to (1.8 or 1.9, which speak eth/63)")
    genesis = write_genesis(directories[0])
    flags = ["--networkid", str(NETWORK_ID)]
    async with (
        running_geth(binary, directories[0], genesis=genesis, network=flags) as sealer,
        running_geth(binary, directories[1], genesis=genesis, network=flags) as other,
    ):
        await start_sealing(sealer)
        urls = [str(await sealer.enode()), str(await other.enode())]
        async with running_stack(genesis=genesis, seal_check="clique", static_peers=urls, force_sync_cycle=1) as stack:

            async def is_bridged() -> bool:
                return (await other.head()) >= 3

            await until(is_bridged, "blocks of the sealer at the other node")
            drafts = [Draft(account=RICH, nonce=nonce, price=2 * 10**9, chain_id=NETWORK_ID) for nonce in range(3)]
            await other.call("eth_sendRawTransaction", "0x" + drafts[0].raw().hex())
            await until_mined(sealer, drafts[0])
            await stack.client.transactions.submit(drafts[1].raw())
            await until_mined(sealer, drafts[1])
            await until_mined(other, drafts[1])
            async for fate in stack.client.transactions.watch(keccak256(drafts[1].raw())):
                if fate.kind is FateKind.INCLUDED:
                    break

            async def is_empty() -> bool:
                [pool] = await stack.client.transactions.pools()
                return pool.transactions == 0

            await until(is_empty, "a pool from which the mined transactions have gone")
            for geth in (sealer, other):
                assert len(await geth.peers()) == 1
