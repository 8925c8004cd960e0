"""Our whole stack against the npm peer: real mainnet blocks cross, each side dialling the other."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.interop.js_peer import Event, JsPeer
from tests.interop.links import StartJs
from tests.interop.real_chain import real_chain
from tests.support.stack import Stack, in_one_loop, running_stack

pytestmark = pytest.mark.interop

CHAIN: Final = real_chain()


async def heard(js: JsPeer, event: str, **fields: Any) -> Event:
    """The next event of this kind. In a thread: our services run in this loop."""
    return await asyncio.to_thread(js.expect, event, **fields)


async def check_conversation(stack: Stack, js: JsPeer, version: int) -> None:
    """Status both ways, the chain to us, the news of it back, and an answer of ours."""
    hello, status = await heard(js, "hello"), await heard(js, "status")
    genesis = CHAIN.headers[0]
    assert (hello["eth_version"], hello["p2p_version"]) == (version, 5)
    assert (status["network_id"], status["genesis_hash"]) == ("1", genesis.hash.hex())
    assert (status["head_hash"], status["total_difficulty"]) == (genesis.hash.hex(), str(genesis.difficulty))
    synced = await stack.until_head(CHAIN.head)
    assert (synced.head.total_difficulty, synced.blocks_synced) == (CHAIN.total_difficulty, 256)
    announced = await heard(js, "message", name="NEW_BLOCK_HASHES")
    assert announced["payload"] == [[CHAIN.head.hash.hex(), "0100"]]
    js.send("GET_BLOCK_HEADERS", [CHAIN.headers[9].hash.hex(), "03", "01", "01"])
    answer = await heard(js, "message", name="BLOCK_HEADERS")
    assert [header[0] for header in answer["payload"]] == [CHAIN.headers[n].parent_hash.hex() for n in (9, 7, 5)]
    js.send("GET_BLOCK_BODIES", [CHAIN.headers[n].hash.hex() for n in range(257)])
    bodies = await heard(js, "message", name="BLOCK_BODIES")
    assert len(bodies["payload"]) == 128
    assert await stack.coordinator.metric('coordinator_syncs_total{outcome="done"}') == 1


@pytest.mark.parametrize(("version", "seal_check"), [(63, "ethash"), (62, "none")], ids=["eth63-seals", "eth62"])
@in_one_loop
async def test_real_blocks_are_synced_from_it_when_we_dial(js_peer: StartJs, version: int, seal_check: str) -> None:
    with js_peer("listen", "--eth", str(version)) as js:
        where = await heard(js, "listening")
        enode = f"enode://{where['node_id']}@127.0.0.1:{where['port']}"
        async with running_stack(network="mainnet", seal_check=seal_check, static_peers=[enode]) as stack:
            await check_conversation(stack, js, version)


@pytest.mark.parametrize("version", [62, 63])
@in_one_loop
async def test_real_blocks_are_synced_from_it_when_it_dials_us(js_peer: StartJs, version: int) -> None:
    async with running_stack(network="mainnet") as stack:
        node = stack.enode
        where = ("--port", str(node.tcp_port), "--node-id", node.node_id.hex(), "--eth", str(version))
        with js_peer("dial", *where) as js:
            await check_conversation(stack, js, version)
