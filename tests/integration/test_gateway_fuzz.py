"""A real gateway and peers that finish their handshakes and then send whatever: no bug shows, nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from blocksync.v1 import gateway_link_pb2

from services.peer_gateway.core.snappy_codec import deflate
from services.shared.ethwire.eth_messages import ETH_VERSIONS, encode_message
from services.shared.ethwire.messages import BlockHeaders, GetBlockHeaders
from services.shared.rpc.convert import headers_query_to_proto
from tests.fuzz.eth_targets import sample_messages
from tests.fuzz.mutations import mutate
from tests.support.captured_log import captured_logs
from tests.support.gateway_under_test import CHAIN, GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import DEADLINE_S, ScriptedPeer

pytestmark = pytest.mark.integration

PEERS: Final = 100
"""Fuzzing peers, one after the other; each has its own seed."""

MESSAGES_EACH: Final = 60
"""Unless it is disconnected before, as most are."""

Samples = Sequence[tuple[int, bytes]]


def changed_message(mallory: ScriptedPeer, samples: Samples, rng: random.Random) -> None:
    """One of eth's messages, changed, under its own code or another."""
    code, payload = rng.choice(samples)
    if rng.random() < 0.1:
        code = rng.randrange(ETH_VERSIONS[mallory.eth_version].length)
    mallory.send_payload(code, mutate(payload, [each for _, each in samples], rng))


def true_message(mallory: ScriptedPeer, samples: Samples, rng: random.Random) -> None:
    code, payload = rng.choice(samples[1:])
    mallory.send_payload(code, payload)


def any_frame(mallory: ScriptedPeer, samples: Samples, rng: random.Random) -> None:
    """A frame with any code, compressed or not."""
    _, payload = rng.choice(samples)
    content = mutate(payload, [], rng)
    code = rng.choice((0, 1, 2, 3, 15, 16, 20, 33))
    mallory.send_frame(code, deflate(content) if rng.random() < 0.7 else content, base=True)


def any_bytes(mallory: ScriptedPeer, samples: Samples, rng: random.Random) -> None:
    mallory.send_bytes(rng.randbytes(rng.randrange(1, 600)))


DEEDS: Final[Sequence[Callable[[ScriptedPeer, Samples, random.Random], None]]] = (
    *[true_message] * 8,
    *[changed_message] * 6,
    any_frame,
)


async def fuzz(gateway: GatewayUnderTest, seed: int) -> None:
    """One peer's life. Half of what it is asked for it is asked for in truth."""
    rng = random.Random(seed)
    versions = rng.choice(((62,), (62, 63)))
    mallory = await gateway.dial(f"mallory-{seed}", eth_versions=versions, p2p_version=rng.choice((4, 5)))
    await mallory.join(gateway.status)
    samples = [encode_message(mallory.eth_version, each) for each in sample_messages(mallory.eth_version)]
    for number in range(MESSAGES_EACH):
        if not mallory.is_connected:
            break
        if rng.random() < 0.3:
            gateway.ask(mallory, number, headers=headers_query_to_proto(GetBlockHeaders(1, 3, 0, False)))
            gateway.ask(mallory, 1000 + number, bodies=gateway_link_pb2.HashList(hashes=bytes(96)))
        rng.choice(DEEDS)(mallory, samples, rng)
        await asyncio.sleep(0)
    if mallory.is_connected and rng.random() < 0.3:
        any_bytes(mallory, samples, rng)
    if mallory.is_connected:
        # What it sent is worked on in order, so with this answer all of it was; or it is disconnected first.
        mallory.send(GetBlockHeaders(0, 1, 0, False))
        with contextlib.suppress(AssertionError):
            while (await mallory.receive(BlockHeaders)).headers_rlp != [CHAIN.headers[0].header_rlp]:
                pass
    mallory.hang_up()
    await mallory.disconnected()


async def assert_answered(alice: ScriptedPeer) -> None:
    alice.send(GetBlockHeaders(2, 3, 0, False))
    headers = (await alice.receive(BlockHeaders)).headers_rlp
    assert headers == [header.header_rlp for header in CHAIN.headers[2:5]]


@in_loop
async def test_peers_that_send_anything_find_no_bug_and_disturb_nobody():
    with captured_logs() as log:
        async with gateway_under_test() as gateway:
            alice = await gateway.joined("alice")
            for seed in range(PEERS):
                async with asyncio.timeout(DEADLINE_S):
                    await fuzz(gateway, seed)
                await assert_answered(alice)
            bob = await gateway.dial("bob")
            await bob.join(gateway.status)
            await assert_answered(bob)
            left = [line for line in log.lines if line["event"] == "peer left"]
            by_us = [line for line in left if line["by"] == "us"]
            assert len(left) >= PEERS - 5, "the fuzzing peers joined"
            assert 5 < len(by_us) < len(left), "some went too far, some did not"
        log.check_no_traceback()
