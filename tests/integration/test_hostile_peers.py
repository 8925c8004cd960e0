"""What a hostile peer gets from the whole stack, while an honest one is there: the right end, and a sync all the same.

Mallory is a static node that claims the most total difficulty, so the stack turns to her first. Each attack ends in
its disconnect reason or in a counted drop, and in one log line of the service that found the fault.
"""

from __future__ import annotations

import pytest

from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, NewBlock, NewBlockHashes, NodeData, Receipts
from services.shared.ethwire.types import Announce, BlockHash
from tests.support.attacks import ATTACKS, CHAIN
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.mallory import MALLORY, Attack, scene_of
from tests.support.scripted_peer import ScriptedListener
from tests.support.small_network import NETWORK_ID, chain_blocks, next_block
from tests.support.stack import in_one_loop, running_stack
from trisync.disconnects import Side

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@in_one_loop
async def test_hostile_peer_is_ended_and_the_chain_comes_from_the_honest_one_when_it_attacks(attack: Attack) -> None:
    async with (
        ScriptedListener(MALLORY) as listener,
        running_stack(static_peers=[str(listener.enode)], **attack.settings) as stack,
    ):
        scene = await scene_of(stack, listener, CHAIN, attack)
        await attack.play(scene)
        if attack.reason is None:
            await scene.mallory.disconnected()
        else:
            assert await scene.mallory.refusal() is attack.reason
        await scene.bring_alice()
        await stack.until_head(CHAIN.headers[-1])
        await stack.until_peers(1)
        judge = {service.name: service for service in stack.services}[attack.judge]
        assert await judge.metric(attack.counted) == 1
        ended = await stack.ends_of(MALLORY.node_id)
        assert [(one.side, one.reason, one.offence) for one in ended] == [
            (Side.THEM if attack.leaves else Side.US, attack.last_word, attack.offence.name.lower())
        ]
        told_of = ended[0]
        assert (told_of.client_name, told_of.inbound, told_of.gateway_id) == ("mallory", False, "gateway-0")
        assert attack.told in told_of.explanation
        # The operator wants her, so she is sent away and not banned.
        assert (told_of.static, told_of.ban_s) == (True, 0)
        about = [line for line in stack.log.about(MALLORY.node_id.hex()) if line["level"] != "debug"]
        told = [line for line in about if line["event"] != "peer joined"]
        assert sorted(line["service"] for line in told) == sorted({"gateway-0", attack.judge}), told
        assert all(attack.told in line["why"] for line in told), told
        assert scene.alice is not None
        assert scene.alice.is_connected


@in_one_loop
async def test_unasked_replies_are_counted_and_change_nothing() -> None:
    async with (
        ScriptedListener(MALLORY) as listener,
        running_stack(static_peers=[str(listener.enode)]) as stack,
    ):
        mallory = await listener.next_peer()
        await mallory.join(CHAIN.status(NETWORK_ID)._replace(total_difficulty=1))
        for kind in (BlockHeaders, BlockBodies, Receipts, NodeData):
            mallory.send(kind([]))
        mallory.send(BlockHeaders([CHAIN.headers[700].header_rlp]))

        async def count() -> bool:
            return await stack.gateway.metric('peer_gateway_dropped_total{cause="unasked",kind="reply"}') == 5

        await until(count, "five dropped replies")
        mallory.answer = CHAIN.answer
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        assert mallory.is_connected
        assert await stack.gateway.metric('peer_gateway_offences_total{offence="unasked_reply"}') == 5
        told = [line["event"] for line in stack.log.about(MALLORY.node_id.hex())]
        assert told == ["peer joined", "unasked reply dropped"]


@in_one_loop
async def test_announces_and_blocks_over_a_peers_limit_are_counted_and_told_once() -> None:
    async with (
        ScriptedListener(MALLORY) as listener,
        running_stack(static_peers=[str(listener.enode)]) as stack,
    ):
        mallory = await listener.next_peer()
        mallory.answer = CHAIN.answer
        await mallory.join(CHAIN.status(NETWORK_ID))
        await stack.until_head(CHAIN.headers[-1])
        head = CHAIN.headers[-1].number
        mallory.send(
            NewBlockHashes([Announce(BlockHash(bytes([at % 256, at // 256]) * 16), head + 5) for at in range(300)])
        )
        above = next_block(chain_blocks(700))
        for at in range(80):
            header = with_hash(above.header._replace(number=head + 5, extra_data=bytes([at])))
            mallory.send(NewBlock(header.header_rlp, above.body_rlp, 1))

        async def count(offence: str) -> float:
            return await stack.coordinator.metric(f'coordinator_offences_total{{offence="{offence}"}}')

        async def all_counted() -> bool:
            return (await count("announces_beyond_limit"), await count("blocks_beyond_limit")) == (44, 16)

        await until(all_counted, "what is over the limits")
        assert mallory.is_connected
        told = [line["event"] for line in stack.log.about(MALLORY.node_id.hex())]
        assert told == ["peer joined", "announces beyond limit", "blocks beyond limit"]
