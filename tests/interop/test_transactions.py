"""Transactions between peers of other implementations that only trisync connects."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import rlp

from services.shared.ethwire.hashing import keccak256
from tests.interop.js_peer import Event, JsPeer
from tests.interop.links import StartJs
from tests.support.deadlines import until
from tests.support.small_network import NETWORK_ID, chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS, write_dump
from tests.support.transactions import Draft

pytestmark = pytest.mark.interop

BLOCKS = chain_blocks(20)
HEAD = peer_chain(BLOCKS).headers[-1]


async def heard(js: JsPeer, event: str, **fields: Any) -> Event:
    """The next event of this kind. In a thread: our services run in this loop."""
    return await asyncio.to_thread(js.expect, event, **fields)


def nested_hex(raw: bytes) -> list[str]:
    """A legacy transaction as the npm peer reads and prints it."""
    return [field.hex() for field in rlp.decode(raw)]


async def until_open(stack: Stack, peers: int) -> None:
    async def is_open() -> bool:
        [pool] = await stack.client.transactions.pools()
        return pool.accepts_transactions and pool.peers == peers

    await until(is_open, f"a pool that accepts transactions of {peers} peers")


@pytest.mark.parametrize("version", [62, 63])
@in_one_loop
async def test_transaction_of_one_npm_peer_reaches_another_and_a_third_that_comes_later(
    js_peer: StartJs, tmp_path: Path, version: int
) -> None:
    dump = write_dump(tmp_path / "chain.rlp.gz", BLOCKS)
    sent, submitted = Draft(account=1), Draft(account=2, chain_id=None, data=b"\x01" * 300, gas_limit=60_000)
    async with running_stack(genesis_config=FORKS) as stack:
        node = stack.enode
        where = ["--port", str(node.tcp_port), "--node-id", node.node_id.hex(), "--eth", str(version)]
        where += ["--chain", str(dump), "--network-id", str(NETWORK_ID), "--lifetime-s", "90"]
        with js_peer("dial", *where) as alice, js_peer("dial", *where) as bob:
            await stack.until_head(HEAD)
            await until_open(stack, 2)
            alice.send("TRANSACTIONS", [nested_hex(sent.raw())])
            arrived = await heard(bob, "message", name="TRANSACTIONS")
            assert arrived["payload"] == [nested_hex(sent.raw())]
            await stack.client.transactions.submit(submitted.raw())
            for peer in (alice, bob):
                arrived = await heard(peer, "message", name="TRANSACTIONS")
                assert arrived["payload"] == [nested_hex(submitted.raw())]
            with js_peer("dial", *where) as carol:
                arrived = await heard(carol, "message", name="TRANSACTIONS")
                expected = [nested_hex(sent.raw()), nested_hex(submitted.raw())]
                assert sorted(arrived["payload"]) == sorted(expected)
            pending = {one.transaction_hash async for one in stack.client.transactions.pending()}
            assert pending == {keccak256(sent.raw()), keccak256(submitted.raw())}
