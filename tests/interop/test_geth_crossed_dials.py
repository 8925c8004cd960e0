"""We and geth dial each other at one moment: whichever connection geth keeps, one is there at once and stays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.interop.geth import running_geth
from tests.support.deadlines import until
from tests.support.stack import in_one_loop_for, running_stack

pytestmark = pytest.mark.real_peer

ROUNDS: Final = 20
HEAD_START_S: Final = 0.0002
"""Of our dial, a step more each round: geth's own is under way after some two milliseconds."""

JOINED_WITHIN_S: Final = 5.0
"""Far below the half minute after which a node is dialled again."""


@pytest.mark.timeout(100)
@in_one_loop_for(90)
async def test_one_connection_stays_when_geth_and_we_dial_each_other(geth_binary: str, geth_directory: Path) -> None:
    async with running_stack(network="mainnet") as stack, running_geth(geth_binary, geth_directory) as geth:
        ours, theirs = str(stack.enode), str(await geth.enode())

        async def geth_dials(after_s: float) -> None:
            await asyncio.sleep(after_s)
            await geth.call("admin_addPeer", ours)

        async def are_peers() -> bool:
            return (await stack.status()).peer_count == 1 == len(await geth.peers())

        async def are_apart() -> bool:
            # Again and again: of two that were each other's, the one that is told first is dialled by the other.
            await stack.client.remove_peer(theirs)
            await geth.call("admin_removePeer", ours)
            await asyncio.sleep(0.1)
            return (await stack.status()).peer_count == 0 == len(await geth.peers())

        for number in range(ROUNDS):
            await asyncio.gather(stack.client.add_peer(theirs), geth_dials(0.001 + number % 10 * HEAD_START_S))
            await until(are_peers, f"one connection in round {number}", within_s=JOINED_WITHIN_S)
            await asyncio.sleep(0.3)
            assert await are_peers(), f"round {number}"
            await until(are_apart, "no connection")
        away = [await stack.gateway.metric(_ended(stage)) for stage in ("transport", "admission", "status")]
        assert sum(away) > 0, "no dials crossed"


def _ended(stage: str) -> str:
    return f'peer_gateway_handshakes_total{{outcome="lost",stage="{stage}"}}'
