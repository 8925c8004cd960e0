"""The parts of discovery that have limits of their own: lookups, proofs, the gate."""

from __future__ import annotations

from services.peer_gateway.core import arrival_gate, endpoint_proofs
from services.peer_gateway.core.arrival_gate import (
    DATAGRAMS_AT_ONCE,
    DATAGRAMS_PER_S,
    HOST_DATAGRAMS_AT_ONCE,
    HOST_DATAGRAMS_PER_S,
    ArrivalGate,
)
from services.peer_gateway.core.endpoint_proofs import EndpointProofs
from services.peer_gateway.core.lookup import CANDIDATES_KEPT, QUERIES_AT_MOST, QUERIES_AT_ONCE, Lookup
from services.peer_gateway.core.node_table import BUCKET_SIZE, node_hash
from services.shared.chainspec.enode import Enode
from tests.support.nodes import stranger
from tests.support.peers import ALICE, BOB

TARGET = stranger(100_000).node_id


def by_distance(nodes: list[Enode]) -> list[Enode]:
    return sorted(nodes, key=lambda node: node_hash(node.node_id) ^ node_hash(TARGET))


def test_lookup_asks_three_at_a_time_and_the_nearest_first():
    nodes = [stranger(number) for number in range(40)]
    lookup = Lookup(TARGET, ALICE, nodes)
    assert lookup.next_queries() == by_distance(nodes)[:QUERIES_AT_ONCE]
    assert lookup.next_queries() == []
    lookup.on_reply(by_distance(nodes)[0].node_id, [])
    assert lookup.next_queries() == [by_distance(nodes)[QUERIES_AT_ONCE]]


def test_lookup_ends_when_the_sixteen_nearest_have_answered():
    nodes = [stranger(number) for number in range(40)]
    lookup = Lookup(TARGET, ALICE, nodes)
    asked = []
    while not lookup.is_over:
        for node in lookup.next_queries():
            asked.append(node)
            lookup.on_reply(node.node_id, nodes)
    assert asked == lookup.nearest == by_distance(nodes)[:BUCKET_SIZE]


def test_node_that_fails_makes_room_for_the_next():
    nodes = [stranger(number) for number in range(40)]
    lookup = Lookup(TARGET, ALICE, nodes)
    while not lookup.is_over:
        for node in lookup.next_queries():
            if node in by_distance(nodes)[:5]:
                lookup.on_failure(node.node_id)
            else:
                lookup.on_reply(node.node_id, nodes)
    assert lookup.nearest == by_distance(nodes)[5 : 5 + BUCKET_SIZE]


def test_lookup_never_asks_ourselves_nor_anybody_twice():
    lookup = Lookup(TARGET, ALICE, [Enode(ALICE, "20.0.0.1", 1, 1), stranger(1)])
    assert lookup.next_queries() == [stranger(1)]
    lookup.on_reply(stranger(1).node_id, [stranger(1), Enode(ALICE, "20.0.0.2", 1, 1)])
    assert lookup.is_over


def test_liar_with_ever_more_nodes_cannot_keep_a_lookup_going():
    lookup = Lookup(TARGET, ALICE, [stranger(0)])
    asked = 0
    while not lookup.is_over:
        for node in lookup.next_queries():
            asked += 1
            lookup.on_failure(node.node_id)
            lookup.on_reply(node.node_id, [stranger(1000 + 16 * asked + number) for number in range(16)])
            assert len(lookup._candidates) <= CANDIDATES_KEPT
    assert asked == QUERIES_AT_MOST


def test_proofs_of_the_oldest_host_make_room(monkeypatch):
    monkeypatch.setattr(endpoint_proofs, "HOSTS_KEPT", 3)
    proofs = EndpointProofs()
    for number in range(5):
        proofs.on_pong(ALICE, f"20.0.0.{number}", now=number)
        proofs.on_pong(BOB, f"20.0.0.{number}", now=number)
    assert len(proofs) == 6
    assert [proofs.is_proven(ALICE, f"20.0.0.{number}", now=5) for number in range(5)] == [False] * 2 + [True] * 3


def test_everybody_together_is_looked_at_so_often_and_no_more():
    gate = ArrivalGate()
    hosts = [f"30.{number // 250}.{number % 250}.1" for number in range(int(DATAGRAMS_AT_ONCE) + 500)]
    assert sum(gate.admits(host, now=9.0) for host in hosts) == DATAGRAMS_AT_ONCE
    assert sum(gate.admits("127.0.0.1", now=9.5) for _ in range(2000)) == DATAGRAMS_PER_S / 2


def test_one_host_is_looked_at_so_often_and_does_not_use_up_what_others_need():
    gate = ArrivalGate()
    assert sum(gate.admits("66.6.6.6", now=9.0) for _ in range(5000)) == HOST_DATAGRAMS_AT_ONCE
    assert gate.admits("30.0.0.1", now=9.0)
    assert sum(gate.admits("66.6.6.6", now=10.0) for _ in range(5000)) == HOST_DATAGRAMS_PER_S


def test_the_addresses_of_one_customer_are_one_host():
    gate = ArrivalGate()
    assert sum(gate.admits(f"2001:db8::{number:x}", now=9.0) for number in range(500)) == HOST_DATAGRAMS_AT_ONCE
    assert gate.admits("2001:db8:0:1::1", now=9.0)


def test_gate_remembers_a_bounded_number_of_hosts(monkeypatch):
    monkeypatch.setattr(arrival_gate, "HOSTS_KEPT", 10)
    gate = ArrivalGate()
    for number in range(50):
        gate.admits(f"30.0.0.{number}", now=9.0)
    assert len(gate._hosts) == 10
