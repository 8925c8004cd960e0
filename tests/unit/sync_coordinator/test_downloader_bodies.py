"""Which block a body belongs to."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.block_download import BlockDownload
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from tests.support.chain_maker import EMPTY_BODY, made_chain
from tests.support.sim_peers import peer_id

CHAIN = made_chain(40, branch=5, empty_every=1000)
ALICE = peer_id("alice")


@pytest.fixture
def blocks():
    return opened(DownloaderConfig())


def opened(config):
    headers = LinkedHeaders(0, CHAIN.headers[0].hash)
    headers.add(CHAIN.headers[1:])
    blocks = BlockDownload(config)
    blocks.open(headers)
    return blocks


def deliver(blocks, reply, count=6):
    """Ask alice for the first `count` blocks and give her reply; the numbers missing, and whether one is foreign."""
    bodies = blocks.bodies
    reservation = bodies.queue.reserve(1, ALICE, count, 0.0)
    matched = bodies.match(reservation, reply)
    bodies.queue.complete(1, matched.missing)
    return [header.number for header in matched.missing], matched.has_foreign


def test_bodies_are_taken_when_all_came(blocks):
    assert deliver(blocks, CHAIN.bodies[1:7]) == ([], False)
    assert blocks.bodies.fetched == 6
    assert blocks.assembly.incomplete == 34
    assert [block.body_rlp for block in blocks.assembly.take(10).blocks] == [
        body.body_rlp for body in CHAIN.bodies[1:7]
    ]


def test_rest_comes_back_unmarked_when_the_reply_is_partial(blocks):
    assert deliver(blocks, CHAIN.bodies[1:4]) == ([4, 5, 6], False)
    assert blocks.bodies.queue.lacking_count(ALICE) == 0
    assert blocks.bodies.queue.first_pending().number == 4


def test_bodies_are_taken_when_some_are_left_out(blocks):
    assert deliver(blocks, [CHAIN.bodies[number] for number in (2, 3, 6)]) == ([1, 4, 5], False)
    assert blocks.bodies.fetched == 3
    assert blocks.bodies.queue.lacking_count(ALICE) == 0


def test_all_is_marked_lacking_when_the_reply_is_empty(blocks):
    assert deliver(blocks, []) == ([1, 2, 3, 4, 5, 6], False)
    assert blocks.bodies.queue.lacking_count(ALICE) == 6


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        ([EMPTY_BODY], [1, 2, 3, 4, 5, 6]),
        ([CHAIN.bodies[1], CHAIN.bodies[9]], [2, 3, 4, 5, 6]),
        ([CHAIN.bodies[2], CHAIN.bodies[1]], [1, 3, 4, 5, 6]),
        ([CHAIN.bodies[1], CHAIN.bodies[1]], [2, 3, 4, 5, 6]),
        (CHAIN.bodies[1:8], []),
        ([CHAIN.bodies[1]._replace(uncles_hash=bytes(32))], [1, 2, 3, 4, 5, 6]),
    ],
    ids=["of no block", "of another block", "out of order", "twice", "one more", "other uncles"],
)
def test_foreign_body_is_noticed_and_what_was_right_is_kept(blocks, reply, missing):
    assert deliver(blocks, reply) == (missing, True)
    assert blocks.bodies.fetched == 6 - len(missing)
    assert blocks.bodies.queue.pending + blocks.bodies.queue.done == 40


def test_equal_bodies_belong_to_each_block_in_turn():
    twins = made_chain(10, branch=5, empty_every=1000)
    headers = [twins.headers[1], twins.headers[1]._replace(number=2), twins.headers[1]._replace(number=3)]
    blocks = BlockDownload(DownloaderConfig())
    blocks.bodies.queue.schedule(blocks.assembly.open(headers).bodies)
    assert deliver(blocks, [twins.bodies[1]] * 2, count=3) == ([3], False)


def test_no_more_headers_are_opened_than_the_window_holds():
    blocks = opened(DownloaderConfig(max_assembled_blocks=15))
    assert blocks.assembly.incomplete == len(blocks.assembly) == 15
