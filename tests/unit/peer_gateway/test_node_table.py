"""The Kademlia table: places, limits, who comes first and who comes in."""

from __future__ import annotations

import random

import pytest

from services.peer_gateway.core.node_table import (
    BUCKET_SIZE,
    REPLACEMENTS_PER_BUCKET,
    SUBNET_NODES_PER_BUCKET,
    SUBNET_NODES_PER_TABLE,
    NodeTable,
    node_hash,
)
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.nodes import FARTHEST, bucket_of, stranger, strangers_in_bucket
from tests.support.peers import ALICE

FULL_AND_WAITING = strangers_in_bucket(ALICE, FARTHEST, BUCKET_SIZE + REPLACEMENTS_PER_BUCKET + 5)
FULL = FULL_AND_WAITING[:BUCKET_SIZE]
LATE = FULL_AND_WAITING[BUCKET_SIZE:]


def table(*nodes: Enode, seed: int = 7) -> NodeTable:
    made = NodeTable(ALICE, random.Random(seed))
    for node in nodes:
        made.add(node, now=0.0)
    return made


def ids(nodes: list[Enode]) -> set[PeerId]:
    return {node.node_id for node in nodes}


def test_node_is_in_the_table_once_however_often_it_is_added():
    known = table(stranger(1), stranger(1), stranger(1))
    assert len(known) == 1
    assert known.get(stranger(1).node_id) == stranger(1)


def test_our_own_id_never_enters():
    known = table()
    assert not known.add(Enode(ALICE, "20.0.0.1", 30303, 30303), now=0.0)
    assert len(known) == 0


def test_newcomer_to_a_full_bucket_waits_and_pushes_nobody_out():
    known = table(*FULL)
    assert not known.add(LATE[0], now=1.0)
    assert ids(known.closest(ALICE, 100)) == ids(FULL)
    assert not known.has_room_for(LATE[1])


def test_dead_node_is_replaced_by_one_that_waits():
    known = table(*FULL, *LATE[:3])
    promoted = known.replace(FULL[4].node_id, now=9.0)
    assert promoted in LATE[:3]
    assert ids(known.closest(ALICE, 100)) == ids([*FULL, promoted]) - {FULL[4].node_id}


def test_promoted_nodes_differ_by_chance():
    chosen = {table(*FULL, *LATE[:10], seed=seed).replace(FULL[0].node_id, now=9.0) for seed in range(30)}
    assert len(chosen) > 3


def test_dead_node_is_removed_when_none_waits():
    known = table(*FULL)
    assert known.replace(FULL[4].node_id, now=9.0) is None
    assert len(known) == BUCKET_SIZE - 1
    assert known.add(LATE[0], now=9.0)


def test_newest_of_those_that_wait_are_kept():
    known = table(*FULL, *LATE)
    came_in = []
    for dead in FULL:
        promoted = known.replace(dead.node_id, now=9.0)
        if promoted is not None:
            came_in.append(promoted)
    assert ids(came_in) == ids(LATE[-REPLACEMENTS_PER_BUCKET:])


def test_node_silent_longest_is_checked_first():
    known = table(*FULL)
    assert known.to_revalidate() == FULL[0]
    known.add(FULL[0], now=1.0)
    assert known.to_revalidate() == FULL[1]


def test_every_bucket_gets_its_turn():
    near = strangers_in_bucket(ALICE, FARTHEST - 3, 1)
    known = table(*FULL, *near)
    assert {known.to_revalidate() for _ in range(50)} == {FULL[0], near[0]}
    assert table().to_revalidate() is None


def test_at_most_two_of_a_neighbourhood_are_in_a_bucket():
    crowd = [
        Enode(node.node_id, f"203.0.113.{place}", 30303, 30303)
        for place, node in enumerate(strangers_in_bucket(ALICE, FARTHEST, 5))
    ]
    assert len(table(*crowd)) == SUBNET_NODES_PER_BUCKET


def test_at_most_ten_of_a_neighbourhood_are_in_the_table():
    crowd = [Enode(stranger(number).node_id, "203.0.113.7", 30303, 30303) for number in range(3000)]
    assert len(table(*crowd)) == SUBNET_NODES_PER_TABLE
    assert len({bucket_of(ALICE, known.node.node_id) for known in table(*crowd)}) >= 5


def test_those_that_wait_count_for_the_limits_too():
    crowd = [Enode(node.node_id, "203.0.113.7", 30303, 30303) for node in LATE]
    known = table(*FULL, *crowd)
    came_in = [known.replace(dead.node_id, now=9.0) for dead in FULL]
    assert len([node for node in came_in if node is not None]) == SUBNET_NODES_PER_BUCKET


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.7", "10.1.2.3", "fd00::1", "::1"])
def test_local_neighbourhoods_have_no_limit(host):
    crowd = [Enode(node.node_id, host, 30303, 30303) for node in FULL]
    assert len(table(*crowd)) == BUCKET_SIZE


def test_place_of_a_removed_node_is_free_for_its_neighbourhood():
    crowd = [Enode(node.node_id, "203.0.113.7", 30303, 30303) for node in FULL[:3]]
    known = table(*crowd)
    known.remove(crowd[0].node_id)
    assert known.add(crowd[2], now=1.0)
    assert not known.add(Enode(FULL[3].node_id, "203.0.113.9", 1, 1), now=1.0)


def test_node_that_moved_is_known_at_its_new_address():
    known = table(stranger(1))
    moved = Enode(stranger(1).node_id, "203.0.113.7", 30304, 30304)
    known.add(moved, now=5.0)
    assert known.get(moved.node_id) == moved
    [entry] = known
    assert entry.since == 0.0


def test_node_that_moves_into_a_crowded_neighbourhood_stays_at_its_old_address():
    crowd = [Enode(node.node_id, "203.0.113.7", 30303, 30303) for node in FULL[:2]]
    known = table(*crowd, FULL[2])
    assert known.add(Enode(FULL[2].node_id, "203.0.113.8", 30303, 30303), now=1.0)
    assert known.get(FULL[2].node_id) == FULL[2]


def test_closest_nodes_are_those_of_the_least_distance():
    nodes = [stranger(number) for number in range(400)]
    known = table(*nodes)
    target = stranger(9999).node_id
    by_distance = sorted((entry.node for entry in known), key=lambda n: node_hash(n.node_id) ^ node_hash(target))
    assert known.closest(target, 16) == by_distance[:16]
    assert known.closest(target, 3, lambda node: node != by_distance[0]) == by_distance[1:4]


def test_random_nodes_are_different_and_of_all_buckets():
    known = table(*(stranger(number) for number in range(400)))
    chosen = known.random_nodes(20)
    assert len(ids(chosen)) == 20
    occupied = {bucket_of(ALICE, entry.node.node_id) for entry in known}
    assert {bucket_of(ALICE, node.node_id) for node in chosen} == occupied
    assert len(known.random_nodes(10_000)) == len(known)
    assert table().random_nodes(5) == []
