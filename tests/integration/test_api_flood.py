"""A client that hammers the operator API while the node syncs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from bench.call_flood import flooding, share_of_core
from tests.support.chain_peers import BodyGate, honest
from tests.support.deadlines import until
from tests.support.mainnet import HEAD_NUMBER, NETWORK_ID, mainnet_chain
from tests.support.processes import mainnet_stack
from tests.support.scripted_peer import ScriptedListener
from tests.support.stack import in_one_loop
from tests.support.wire import local_node
from trisync.client import AsyncCoordinator, CoordinatorError

pytestmark = pytest.mark.integration

CALLS_PER_SECOND: Final = 500
MOST_OF_A_CORE: Final = 0.1


@in_one_loop
async def test_five_hundred_calls_a_second_cost_a_tenth_of_a_core_and_the_sync_goes_on(tmp_path: Path) -> None:
    chain = mainnet_chain()
    gate = BodyGate(chain, HEAD_NUMBER // 10, honest(chain, status=chain.status(NETWORK_ID)))
    async with (
        ScriptedListener(local_node("alice"), gate.answer) as alice,
        mainnet_stack(
            tmp_path, static_peers=(str(alice.enode),), force_sync_cycle=0.5, listen=("127.0.0.1:0",)
        ) as stack,
        AsyncCoordinator(stack.plan.coordinator_address) as node,
    ):
        peer = await alice.next_peer()
        await until(lambda: gate.held, "a sync that waits for bodies")
        addresses, pid = stack.coordinator.facts["grpc"], stack.coordinator.pid
        assert isinstance(addresses, list)
        assert pid is not None
        without = await share_of_core(pid, 1.0)
        async with flooding(addresses[1], CALLS_PER_SECOND) as flood:
            under_load = await share_of_core(pid, 3.0)
            # Who comes by the socket of the stack is answered meanwhile, and the sync takes what it waited for.
            before = (await node.status()).head.number
            gate.limit = None
            gate.release(peer)

            async def is_synced() -> bool:
                return (await node.status()).head.number == HEAD_NUMBER

            await until(is_synced, "the head")
        assert before < HEAD_NUMBER
        assert under_load - without <= MOST_OF_A_CORE, (without, under_load, flood.codes)
        assert flood.codes["OK"] > 0
        assert flood.codes["RESOURCE_EXHAUSTED"] > 0.8 * flood.offered, flood.codes
        # Those that were under way when the connection was cut; nobody waits for an answer that does not come.
        assert flood.codes["UNAVAILABLE"] < 0.1 * flood.offered, flood.codes
        assert flood.codes.keys() <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}

        reasons = set[str]()

        async def is_let_back() -> bool:
            try:
                return bool(await client.status())
            except CoordinatorError as refused:
                reasons.add(refused.reason)
                # As a program that may ask a few times a second.
                await asyncio.sleep(0.2)
                return False

        async with AsyncCoordinator(addresses[1]) as client:
            await until(is_let_back, "an answer after the flood")
        assert "CLIENT_DIVERTED" in reasons
