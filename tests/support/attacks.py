"""What mallory may do to a stack, and what must become of each: the table that the tests run through."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    MessageCode,
    NewBlock,
    NewBlockHashes,
)
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, Block, BlockHash
from tests.support.mallory import Attack, Scene, send_part_of_frame
from tests.support.ruled_chain import ruled_chain
from tests.support.small_network import NETWORK_ID, chain_blocks, next_block, peer_chain

Play = Callable[[Scene], Awaitable[None]]

BREACH: Final = DisconnectReason.BREACH_OF_PROTOCOL
ETH_ERROR: Final = DisconnectReason.SUBPROTOCOL_ERROR
TIMEOUT: Final = DisconnectReason.READ_TIMEOUT
USELESS: Final = DisconnectReason.USELESS_PEER

CHAIN: Final = peer_chain(chain_blocks(700))
OTHER_BRANCH: Final = peer_chain(chain_blocks(700, fork_at=1))
GIBIBYTE_VARINT: Final = b"\x80\x80\x80\x80\x04"
"""The start of a snappy block that says it inflates to 1 GiB."""
WRONG_HASH: Final = BlockHash(bytes(32))
DAO_FORK_NUMBER: Final = 2000
DAO_FORK: Final = {"daoForkBlock": DAO_FORK_NUMBER, "daoForkSupport": True}
SHORT_TIMES: Final = {"handshake_timeout": 1.0, "request_timeout": 1.0}


def broken_chain(at: int) -> tuple[Block, ...]:
    """Linked and with the right bodies, but block `at` has a difficulty that no rule gives."""
    below = chain_blocks(at)
    last = below[-1]
    bad = Block(with_hash(last.header._replace(difficulty=last.header.difficulty + 1)), last.body_rlp)
    return (*below[:-1], bad, *ruled_chain(bad.header, 300))


def opens_with(**changes: Any) -> Play:
    """Says a Status with these fields."""

    async def play(scene: Scene) -> None:
        await scene.mallory.ready()
        scene.mallory.send(scene.status()._replace(**{"protocol_version": 63, **changes}))
        await scene.bring_alice()

    return play


async def says_no_status(scene: Scene) -> None:
    await scene.mallory.ready()
    await scene.bring_alice()


async def asks_before_status(scene: Scene) -> None:
    await scene.mallory.ready()
    scene.mallory.send(GetBlockHeaders(0, 1, 0, False))
    await scene.bring_alice()


async def sends_garbage_after_hello(scene: Scene) -> None:
    await scene.mallory.ready()
    scene.mallory.send_bytes(os.urandom(64))
    await scene.bring_alice()


def as_master_sends(code: int, payload: bytes) -> Play:
    """Answers the question for her head with any bytes as an eth message."""

    async def play(scene: Scene) -> None:
        await scene.become_master()
        scene.mallory.send_payload(code, payload)

    return play


async def says_status_twice(scene: Scene) -> None:
    await scene.become_master()
    scene.mallory.send(scene.status()._replace(protocol_version=63))


async def starts_an_oversized_frame(scene: Scene) -> None:
    await scene.become_master()
    send_part_of_frame(scene.mallory, MessageCode.BLOCK_HEADERS, 12 * 1024 * 1024, sent_bytes=32)


async def sends_a_snappy_bomb(scene: Scene) -> None:
    await scene.become_master()
    scene.mallory.send_frame(MessageCode.BLOCK_HEADERS, GIBIBYTE_VARINT + bytes(1000))


async def uses_a_code_of_nobody(scene: Scene) -> None:
    await scene.become_master()
    scene.mallory.send_frame(0x30, b"\x01\x00\xc0")


def answers_head_with(*numbers: int) -> Play:
    async def play(scene: Scene) -> None:
        await scene.become_master()
        scene.mallory.send(BlockHeaders([scene.chain.headers[number].header_rlp for number in numbers]))

    return play


async def serves_headers_that_do_not_link(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    asked = await scene.serve_until(GetBlockHeaders, lambda asked: asked.amount > 100 and not asked.skip)
    reply = required(scene.chain.answer(asked))
    assert isinstance(reply, BlockHeaders)
    assert isinstance(asked.origin, int)
    reply.headers_rlp[5] = OTHER_BRANCH.headers[asked.origin + 5].header_rlp
    scene.mallory.send(reply)


async def serves_bodies_of_another_chain(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    asked = await scene.serve_until(GetBlockBodies)
    foreign = [OTHER_BRANCH.bodies_rlp[scene.chain.numbers[block_hash]] for block_hash in asked.hashes]
    scene.mallory.send(BlockBodies(foreign))


async def serves_more_bodies_than_asked(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    asked = await scene.serve_until(GetBlockBodies)
    scene.mallory.send(BlockBodies([CHAIN.bodies_rlp[1]] * (len(asked.hashes) + 1)))


async def says_nothing_more(scene: Scene) -> None:
    await scene.become_master()


async def hangs_up_in_the_middle_of_a_reply(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    await scene.serve_until(GetBlockBodies)
    send_part_of_frame(scene.mallory, MessageCode.BLOCK_BODIES, 100_000, sent_bytes=50_000)
    scene.mallory.hang_up()


async def leaves_with_a_question_open(scene: Scene) -> None:
    await scene.become_master()
    scene.mallory.disconnect(DisconnectReason.REQUESTED)


async def serves_all(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    scene.mallory.answer = scene.chain.answer


async def withholds_bodies(scene: Scene) -> None:
    head = await scene.become_master()
    scene.mallory.send(required(scene.chain.answer(head)))
    scene.mallory.answer = lambda asked: (
        BlockBodies([]) if isinstance(asked, GetBlockBodies) else scene.chain.answer(asked)
    )


async def withholds_bodies_alone(scene: Scene) -> None:
    scene.mallory.answer = lambda asked: (
        BlockBodies([]) if isinstance(asked, GetBlockBodies) else scene.chain.answer(asked)
    )
    await scene.mallory.join(scene.status())


async def is_on_the_other_side_of_the_dao_fork(scene: Scene) -> None:
    await scene.mallory.join(scene.status())
    await scene.question_for(DAO_FORK_NUMBER)
    await scene.bring_alice()
    await scene.stack.until_peers(2)
    other_side = with_hash(CHAIN.headers[-1]._replace(number=DAO_FORK_NUMBER))
    scene.mallory.send(BlockHeaders([other_side.header_rlp]))


def after_the_sync(*messages: Callable[[Scene], EthMessage]) -> Play:
    """Is no more than the others until the chain is synced; then says these."""

    async def play(scene: Scene) -> None:
        scene.mallory.answer = scene.chain.answer
        await scene.mallory.join(CHAIN.status(NETWORK_ID)._replace(total_difficulty=1))
        await scene.bring_alice()
        await scene.stack.until_head(CHAIN.headers[-1])
        for message in messages:
            scene.mallory.send(message(scene))

    return play


def block_with_another_body(scene: Scene) -> NewBlock:
    block = next_block(chain_blocks(700))
    return NewBlock(block.header.header_rlp, CHAIN.bodies_rlp[1], CHAIN.total_difficulties[-1])


def block_that_breaks_a_rule(scene: Scene) -> NewBlock:
    block = next_block(chain_blocks(700))
    header = with_hash(block.header._replace(gas_limit=5001))
    return NewBlock(header.header_rlp, block.body_rlp, CHAIN.total_difficulties[-1])


def announce_with_a_wrong_number(scene: Scene) -> NewBlockHashes:
    block = next_block(chain_blocks(700))
    scene.mallory.answer = peer_chain([*chain_blocks(700), block]).answer
    return NewBlockHashes([Announce(block.header.hash, 705)])


def required(reply: EthMessage | None) -> EthMessage:
    assert reply is not None
    return reply


def handshakes(stage: str) -> str:
    return f'peer_gateway_handshakes_total{{stage="{stage}",outcome="refused"}}'


def disconnects(reason: DisconnectReason | None, side: str = "us") -> str:
    name = "none" if reason is None else reason.name.lower()
    return f'peer_gateway_disconnects_total{{reason="{name}",side="{side}"}}'


def offences(name: str) -> str:
    return f'coordinator_offences_total{{offence="{name}"}}'


def by_coordinator(name: str, play: Play, offence: Offence, told: str, **more: Any) -> Attack:
    reason = more.pop("reason", USELESS)
    return Attack(name, play, reason, offence, told, "coordinator", offences(offence.name.lower()), **more)


def by_gateway(name: str, play: Play, reason: DisconnectReason, offence: Offence, told: str, **more: Any) -> Attack:
    return Attack(name, play, reason, offence, told, counted=disconnects(reason), **more)


ATTACKS: Final = [
    by_gateway(
        "wrong-genesis",
        opens_with(genesis_hash=WRONG_HASH),
        ETH_ERROR,
        Offence.GENESIS_MISMATCH,
        "the peer's genesis is",
    ),
    by_gateway(
        "wrong-network",
        opens_with(network_id=1),
        ETH_ERROR,
        Offence.NETWORK_MISMATCH,
        "the peer's network id is 1, ours is 1337",
    ),
    by_gateway(
        "wrong-version",
        opens_with(protocol_version=62),
        ETH_ERROR,
        Offence.VERSION_MISMATCH,
        "Status is of eth/62, agreed is eth/63",
    ),
    by_gateway(
        "no-status",
        says_no_status,
        TIMEOUT,
        Offence.STATUS_TIMEOUT,
        "no Status came within 1 s",
        settings=SHORT_TIMES,
    ),
    by_gateway("question-before-status", asks_before_status, ETH_ERROR, Offence.STATUS_MISSING, "it must be Status"),
    by_gateway("second-status", says_status_twice, ETH_ERROR, Offence.SECOND_STATUS, "a second Status came"),
    by_gateway(
        "garbage-after-hello",
        sends_garbage_after_hello,
        BREACH,
        Offence.FRAME_CORRUPT,
        "the MAC of a frame's header is wrong",
    ),
    by_gateway(
        "oversized-frame", starts_an_oversized_frame, ETH_ERROR, Offence.ETH_MESSAGE_OVERSIZED, "is over the limit"
    ),
    by_gateway(
        "snappy-bomb",
        sends_a_snappy_bomb,
        ETH_ERROR,
        Offence.ETH_MESSAGE_OVERSIZED,
        "an eth message of 1073741824 bytes is over",
    ),
    by_gateway(
        "no-rlp",
        as_master_sends(MessageCode.BLOCK_HEADERS, b"\xf9\xff"),
        ETH_ERROR,
        Offence.ETH_MESSAGE_UNDECODABLE,
        "is cut off",
    ),
    by_gateway("unknown-code", uses_a_code_of_nobody, BREACH, Offence.CODE_OUT_OF_RANGE, "UNKNOWN_CODE"),
    by_gateway("another-head", answers_head_with(3), USELESS, Offence.REPLY_MISMATCH, "not at the one asked for"),
    by_gateway("two-heads", answers_head_with(700, 699), USELESS, Offence.REPLY_MISMATCH, "2 items, 1 were asked for"),
    by_gateway(
        "unlinked-headers",
        serves_headers_that_do_not_link,
        USELESS,
        Offence.REPLY_MISMATCH,
        "does not link to the one before it",
    ),
    by_gateway("too-many-bodies", serves_more_bodies_than_asked, USELESS, Offence.REPLY_MISMATCH, "does not answer it"),
    by_coordinator("no-head", answers_head_with(), Offence.BAD_HEAD, "0 headers came for its head"),
    by_coordinator("foreign-bodies", serves_bodies_of_another_chain, Offence.INVALID_BODY, "body matches no requested"),
    by_coordinator(
        "silence", says_nothing_more, Offence.SYNC_TIMEOUT, "no answer in phase height", settings=SHORT_TIMES
    ),
    by_coordinator("broken-rule", serves_all, Offence.INVALID_CHAIN, "block 600", chain=peer_chain(broken_chain(600))),
    by_coordinator("withheld-bodies", withholds_bodies, Offence.STALLING, "it promised"),
    by_coordinator(
        "withheld-bodies-alone", withholds_bodies_alone, Offence.BODIES_UNAVAILABLE, "no peer has the bodies"
    ),
    by_coordinator(
        "dao-fork",
        is_on_the_other_side_of_the_dao_fork,
        Offence.DAO_MISMATCH,
        "of the other side of the fork",
        reason=ETH_ERROR,
        settings={"genesis_config": DAO_FORK},
    ),
    by_coordinator(
        "block-with-another-body",
        after_the_sync(block_with_another_body),
        Offence.BLOCK_BODY_MISMATCH,
        "body is not",
        reason=ETH_ERROR,
    ),
    by_coordinator("invalid-block", after_the_sync(block_that_breaks_a_rule), Offence.INVALID_BLOCK, "gas-limit"),
    by_coordinator(
        "false-announce",
        after_the_sync(announce_with_a_wrong_number),
        Offence.FALSE_ANNOUNCE,
        "whose header says 701",
    ),
    Attack(
        "hang-up",
        hangs_up_in_the_middle_of_a_reply,
        None,
        Offence.CONNECTION_LOST,
        "the connection ended",
        counted=disconnects(None, "them"),
        leaves=True,
    ),
    Attack(
        "leaves",
        leaves_with_a_question_open,
        None,
        Offence.LEFT,
        "the peer left: requested",
        counted=disconnects(DisconnectReason.REQUESTED, "them"),
        leaves=True,
        says=DisconnectReason.REQUESTED,
    ),
]
