"""Every query of the dashboards and rules has an answer when a stack is at work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from services.shared.ethwire.messages import GetBlockHeaders, NewBlock, NewBlockHashes, Transactions
from services.shared.ethwire.types import Announce
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.observed_queries import Question, panel_questions, rule_questions, unanswered
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop_for, running_stack
from tests.support.transaction_blocks import FORKS, block_with
from tests.support.transactions import Draft

pytestmark = [pytest.mark.integration, pytest.mark.prometheus]

CHAIN: Final = peer_chain(chain_blocks(400))

ANSWERED_S: Final = 20.0
"""Until every query has an answer: rates want two samples, and an event between them."""

ASK_AGAIN_S: Final = 0.3

BLOCK_EVERY_S: Final = 0.2


@in_one_loop_for(60)
async def test_every_query_of_dashboards_and_rules_has_an_answer(prometheus_program: Path) -> None:
    async with running_stack(genesis_config=FORKS, gateways=2, bootnodes=()) as stack:
        alice = await dial_in(stack.enode, "alice", peer_chain(()))
        await drop_a_transaction(stack, alice)
        targets = {
            "coordinator": [str(stack.coordinator.facts["metrics"])],
            "broadcaster": [str(stack.broadcaster.facts["metrics"])],
            "peer_gateway": [str(gateway.facts["metrics"]) for gateway in stack.gateways],
        }
        async with running_prometheus(prometheus_program, targets) as prometheus:
            await until(lambda: is_watched(prometheus), "a first sample of every service")
            await check(stack, prometheus)


async def drop_a_transaction(stack: Stack, peer: ScriptedPeer) -> None:
    """Only what was dropped once has a series."""
    await stack.broadcaster.stop()
    dropped = 'peer_gateway_dropped_total{cause="link-down",kind="transactions"}'

    async def is_dropped() -> bool:
        peer.send(Transactions([Draft().wire()]))
        return await stack.gateway.metric(dropped) > 0

    await until(is_dropped, "a dropped transaction")
    await stack.broadcaster.start()


async def is_watched(prometheus: Prometheus) -> bool:
    return len(await asyncio.to_thread(prometheus.query, "up == 1")) == 5


async def check(stack: Stack, prometheus: Prometheus) -> None:
    async with asyncio.TaskGroup() as tasks:
        traffic = tasks.create_task(keep_busy(stack), name="traffic")
        await until_answered(prometheus, [*panel_questions(), *rule_questions()])
        traffic.cancel()
    rules = (await asyncio.to_thread(prometheus.get, "rules"))["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}


async def until_answered(prometheus: Prometheus, questions: Iterable[Question]) -> None:
    still_open = dict.fromkeys(questions, "not asked")
    assert len(still_open) > 100
    deadline = asyncio.get_running_loop().time() + ANSWERED_S
    while still_open and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(ASK_AGAIN_S)
        still_open = await asyncio.to_thread(unanswered, prometheus.query, still_open)
    assert not still_open, "\n".join(f"{one.where}: {problem}" for one, problem in still_open.items())


async def keep_busy(stack: Stack) -> None:
    """A sync, then a block with a transaction again and again, of one peer and then of another."""
    alice = await dial_in(stack.enode, "alice-with-blocks", CHAIN)
    bob = await dial_in(stack.enode_of(stack.gateways[1]), "bob", CHAIN)
    await stack.until_head(CHAIN.headers[-1])
    parent, total_difficulty = CHAIN.headers[-1], CHAIN.total_difficulties[-1]
    for nonce in itertools.count():
        drafts = [Draft(account=account, nonce=nonce).wire() for account in (1, 2)]
        alice.send(Transactions(drafts))
        block = block_with(parent, drafts[:1])
        parent, total_difficulty = block.header, total_difficulty + block.header.difficulty
        alice.send(NewBlock(parent.header_rlp, block.body_rlp, total_difficulty))
        bob.send(NewBlockHashes([Announce(parent.hash, parent.number)]))
        bob.send(GetBlockHeaders(1, 1, 0, False))
        await stack.client.transactions.submit(Draft(account=3, nonce=nonce).raw())
        await asyncio.sleep(BLOCK_EVERY_S)
