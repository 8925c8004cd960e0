"""Roots computed by worker processes: the same digests, in order, whatever happens to a worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest
from blocksync.v1 import gateway_link_pb2
from prometheus_client import CollectorRegistry

from services.peer_gateway.core.reply_decoding import digest_slices
from services.peer_gateway.core.root_frames import RootedReply
from services.peer_gateway.edges import digests as digests_module
from services.peer_gateway.edges.digests import IN_FLIGHT_BYTES, Digests
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.messages import BlockBodies, GetBlockBodies, Receipts
from services.shared.ethwire.rlp_slices import encode_string, join_list
from tests.support.deadlines import until
from tests.support.gateway_under_test import gateway_under_test, in_loop
from tests.support.processes import descendants, has_ended

pytestmark = pytest.mark.integration


def big_reply(salt: int, size_bytes: int = 64 * 1024) -> BlockBodies:
    """Bodies of ten transactions of 100 bytes, unlike those of another salt."""
    count = size_bytes // 1000
    return BlockBodies(
        [
            join_list([join_list([join_list([encode_string(bytes((salt % 256, at % 256)) * 48)])] * 10), b"\xc0"])
            for at in range(count)
        ]
    )


def digests_of(reply: RootedReply) -> bytes:
    return b"".join(digest_slices(reply))


class Running:
    """`Digests` with its workers kept, and what it counted."""

    def __init__(self, worker_count: int) -> None:
        self.registry = CollectorRegistry()
        self.digests = Digests(worker_count, GatewayMetrics(self.registry))

    def bytes_by(self, place: str) -> float:
        return self.registry.get_sample_value("peer_gateway_digested_bytes_total", {"by": place}) or 0.0

    @property
    def losses(self) -> float:
        return self.registry.get_sample_value("peer_gateway_root_worker_losses_total") or 0.0

    async def until_a_worker_answers(self) -> None:
        before = self.bytes_by("worker")

        async def has_answered() -> bool:
            await self.digests.of(big_reply(0))
            return self.bytes_by("worker") > before

        await until(has_answered, "a worker to answer")


@contextlib.asynccontextmanager
async def running(worker_count: int = 1) -> AsyncIterator[Running]:
    parts = Running(worker_count)
    keeping = asyncio.create_task(parts.digests.run())
    try:
        yield parts
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


@in_loop
async def test_worker_gives_the_digests_that_are_computed_here():
    async with running() as parts:
        await parts.until_a_worker_answers()
        replies: list[RootedReply] = [big_reply(salt) for salt in range(8)]
        receipt = join_list([b"\x01", b"\x52", encode_string(bytes(range(256))), b"\xc0"])
        replies.append(Receipts([join_list([receipt] * 9)] * 40))
        before = parts.bytes_by("gateway")
        assert await asyncio.gather(*map(parts.digests.of, replies)) == list(map(digests_of, replies))
        assert parts.bytes_by("gateway") == before


@in_loop
async def test_small_reply_is_not_worth_a_worker():
    async with running() as parts:
        await parts.until_a_worker_answers()
        before = parts.bytes_by("worker")
        small = big_reply(1, 2000)
        assert await parts.digests.of(small) == digests_of(small)
        assert parts.bytes_by("worker") == before


@in_loop
async def test_no_worker_is_started_before_there_is_work_for_it():
    async with running() as parts:
        await parts.digests.of(big_reply(1, 2000))
        assert parts.digests.worker_pids == []


@in_loop
async def test_body_of_a_wrong_shape_is_a_fault_of_its_peer_and_the_worker_lives():
    async with running() as parts:
        await parts.until_a_worker_answers()
        [pid] = parts.digests.worker_pids
        with pytest.raises(MalformedRlp):
            await parts.digests.of(BlockBodies([*big_reply(1).bodies_rlp, b"\xc1\xc0"]))
        await parts.until_a_worker_answers()
        assert parts.digests.worker_pids == [pid]


@in_loop
async def test_batches_of_a_worker_that_dies_are_computed_here_and_it_is_started_again():
    async with running() as parts:
        await parts.until_a_worker_answers()
        [pid] = parts.digests.worker_pids
        os.kill(pid, signal.SIGSTOP)
        replies = [big_reply(salt) for salt in range(6)]
        waiting = [asyncio.create_task(parts.digests.of(reply)) for reply in replies]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*waiting) == list(map(digests_of, replies))
        assert parts.losses == len(replies)
        await parts.until_a_worker_answers()
        assert parts.digests.worker_pids != [pid]


@in_loop
async def test_worker_that_is_stuck_is_killed_and_its_batch_computed_here(monkeypatch):
    async with running() as parts:
        await parts.until_a_worker_answers()
        monkeypatch.setattr(digests_module, "ANSWER_S", 0.05)
        [pid] = parts.digests.worker_pids
        os.kill(pid, signal.SIGSTOP)
        reply = big_reply(3)
        assert await parts.digests.of(reply) == digests_of(reply)
        assert parts.losses == 1
        await until(lambda: has_ended(pid), "the stuck worker to end")


@in_loop
async def test_what_a_busy_worker_has_no_room_for_is_computed_here():
    async with running() as parts:
        await parts.until_a_worker_answers()
        [pid] = parts.digests.worker_pids
        os.kill(pid, signal.SIGSTOP)
        first = asyncio.create_task(parts.digests.of(big_reply(1, IN_FLIGHT_BYTES // 2)))
        await asyncio.sleep(0)
        second = big_reply(2, IN_FLIGHT_BYTES)
        assert await parts.digests.of(second) == digests_of(second)
        assert not first.done()
        os.kill(pid, signal.SIGCONT)
        assert await first == digests_of(big_reply(1, IN_FLIGHT_BYTES // 2))


@in_loop
async def test_answers_for_peers_that_left_are_passed_over():
    async with running() as parts:
        await parts.until_a_worker_answers()
        left = [asyncio.create_task(parts.digests.of(big_reply(salt))) for salt in range(3)]
        await asyncio.sleep(0)
        for task in left:
            task.cancel()
        reply = big_reply(7)
        assert await parts.digests.of(reply) == digests_of(reply)
        assert parts.losses == 0


@in_loop
async def test_worker_ends_with_the_gateway():
    async with running() as parts:
        await parts.until_a_worker_answers()
        [pid] = parts.digests.worker_pids
    await until(lambda: has_ended(pid), "the worker to end")


@in_loop
async def test_replies_arrive_in_order_whatever_happens_to_the_gateways_worker():
    replies = [big_reply(salt) for salt in range(8)]
    async with gateway_under_test(root_workers=1) as gateway:
        peer = await gateway.joined("alice")

        async def ask(request_id: int, reply: BlockBodies) -> None:
            hashes = b"".join(at.to_bytes(32) for at in range(len(reply.bodies_rlp)))
            gateway.ask(peer, request_id, bodies=gateway_link_pb2.HashList(hashes=hashes))
            await peer.receive(GetBlockBodies)

        async def has_answered() -> float:
            await ask(99, replies[0])
            peer.send(replies[0])
            await gateway.coordinator.bulk.next("bodies")
            return await gateway.metric("digested_bytes_total", by="worker")

        await until(has_answered, "a worker to answer")
        [pid] = descendants(os.getpid())
        for request_id, reply in enumerate(replies):
            await ask(request_id, reply)
        os.kill(pid, signal.SIGSTOP)
        for reply in replies:
            peer.send(reply)
        os.kill(pid, signal.SIGKILL)
        for request_id, reply in enumerate(replies):
            arrived = await gateway.coordinator.bulk.next("bodies")
            assert (arrived.request_id, arrived.roots) == (request_id, digests_of(reply))
        assert peer.is_connected
