"""The questions that a new peer must answer, from the coordinator's configuration to the peer's disconnect."""

from __future__ import annotations

import pytest

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.messages import BlockHeaders, EthMessage, GetBlockHeaders
from tests.support.chain_peers import dial_in
from tests.support.scripted_peer import Answer, ScriptedPeer
from tests.support.small_network import NETWORK_ID, chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(6))
GENESIS_ONLY = peer_chain(())
LISTED, DAO_FORK_NUMBER = 5, 2000
WHITELIST = f"{LISTED}=0x{CHAIN.headers[LISTED].hash.hex()}"
DAO_EXTRA_DATA = b"dao-hard-fork"


def dao_header(extra_data: bytes) -> BlockHeaders:
    header = CHAIN.headers[5]._replace(number=DAO_FORK_NUMBER, extra_data=extra_data)
    return BlockHeaders([with_hash(header).header_rlp])


def answering(number: int, reply: BlockHeaders | None) -> Answer:
    """A peer without blocks that answers the question for one number in its own way, or not at all."""

    def answer(message: EthMessage) -> EthMessage | None:
        if isinstance(message, GetBlockHeaders) and message.origin == number:
            return reply
        return GENESIS_ONLY.answer(message)

    return answer


async def challenged(stack: Stack, answer: Answer) -> ScriptedPeer:
    """A peer that has been asked its questions by the time it joined, and answers so."""
    peer = await ScriptedPeer.dial(stack.enode, local_node("mallory"))
    peer.answer = answer
    await peer.join(GENESIS_ONLY.status(NETWORK_ID))
    return peer


FOREIGN = with_hash(CHAIN.headers[LISTED]._replace(extra_data=b"another chain")).header_rlp

REPLIES: dict[str, tuple[BlockHeaders | None, DisconnectReason | None]] = {
    "the listed block": (BlockHeaders([CHAIN.headers[LISTED].header_rlp]), None),
    "no block": (BlockHeaders([]), None),
    "silence": (None, None),
    "another block of that number": (BlockHeaders([FOREIGN]), DisconnectReason.SUBPROTOCOL_ERROR),
    "a block of another number": (BlockHeaders([CHAIN.headers[4].header_rlp]), DisconnectReason.USELESS_PEER),
}

DAO_REPLIES: dict[str, tuple[BlockHeaders | None, DisconnectReason | None]] = {
    "our side": (dao_header(DAO_EXTRA_DATA), None),
    "no block": (BlockHeaders([]), None),
    "the other side": (dao_header(b"no fork"), DisconnectReason.SUBPROTOCOL_ERROR),
}


async def assert_judged(peer: ScriptedPeer, stack: Stack, reason: DisconnectReason | None) -> None:
    if reason is not None:
        assert await peer.refusal() is reason
        return
    # A peer that joins later is asked later: once that one is synced from, this one's answer was judged.
    await dial_in(stack.enode, "alice", CHAIN)
    await stack.until_head(CHAIN.headers[-1])
    assert "GetBlockHeaders" in peer.seen
    assert peer.is_connected


@pytest.mark.parametrize(("reply", "reason"), REPLIES.values(), ids=REPLIES.keys())
@in_one_loop
async def test_whitelisted_block_is_asked_of_a_new_peer_and_only_a_wrong_one_ends_it(reply, reason):
    async with running_stack(whitelist=(WHITELIST,)) as stack:
        peer = await challenged(stack, answering(LISTED, reply))
        await assert_judged(peer, stack, reason)


@pytest.mark.parametrize(("reply", "reason"), DAO_REPLIES.values(), ids=DAO_REPLIES.keys())
@in_one_loop
async def test_dao_fork_block_is_asked_of_a_new_peer_and_the_other_side_ends_it(reply, reason):
    config = {"daoForkBlock": DAO_FORK_NUMBER, "daoForkSupport": True}
    async with running_stack(genesis_config=config) as stack:
        peer = await challenged(stack, answering(DAO_FORK_NUMBER, reply))
        await assert_judged(peer, stack, reason)
