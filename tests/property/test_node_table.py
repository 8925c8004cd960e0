"""Whatever happens to it, the table keeps its limits."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.peer_gateway.core.addresses import kind_of, subnet_of
from services.peer_gateway.core.node_table import (
    BUCKET_SIZE,
    REPLACEMENTS_PER_BUCKET,
    SUBNET_NODES_PER_BUCKET,
    SUBNET_NODES_PER_TABLE,
    NodeTable,
)
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.nodes import FARTHEST, bucket_of, strangers_in_bucket
from tests.support.peers import ALICE

CROWD = [
    *strangers_in_bucket(ALICE, FARTHEST, 45),
    *strangers_in_bucket(ALICE, FARTHEST - 1, 10),
    *strangers_in_bucket(ALICE, FARTHEST - 4, 3),
    Enode(ALICE, "20.0.0.1", 30303, 30303),
]
HOSTS = ["203.0.113.1", "203.0.113.2", "198.51.100.1", "192.168.0.1", "127.0.0.1", "2001:db8::1"]


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = NodeTable(ALICE, random.Random(0))
        self.proven: dict[PeerId, set[Enode]] = {}

    @rule(node=st.sampled_from(CROWD), host=st.none() | st.sampled_from(HOSTS))
    def add(self, node: Enode, host: str | None) -> None:
        at = node if host is None else Enode(node.node_id, host, 30303, 30303)
        self.now += 1
        self.proven.setdefault(at.node_id, set()).add(at)
        before = {known.node.node_id for known in self.table}
        is_in = self.table.add(at, self.now)
        after = {known.node.node_id for known in self.table}
        assert is_in == (at.node_id in after)
        assert before <= after

    @rule(start=st.integers(0, len(CROWD) - 1), count=st.integers(1, 30))
    def add_many(self, start: int, count: int) -> None:
        for node in CROWD[start : start + count]:
            self.add(node, None)

    @rule(node=st.sampled_from(CROWD))
    def remove(self, node: Enode) -> None:
        self.table.remove(node.node_id)
        assert node.node_id not in self.table

    @rule()
    def revalidate_dead(self) -> None:
        node = self.table.to_revalidate()
        assert (node is None) == (len(self.table) == 0)
        if node is not None:
            promoted = self.table.replace(node.node_id, self.now)
            assert node.node_id not in self.table
            assert promoted is None or promoted.node_id in self.table

    @rule()
    def revalidate_alive(self) -> None:
        node = self.table.to_revalidate()
        if node is not None:
            assert self.table.add(node, self.now)

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        everyone = []
        for bucket in self.table._buckets:
            assert len(bucket.entries) <= BUCKET_SIZE
            assert len(bucket.replacements) <= REPLACEMENTS_PER_BUCKET
            here = [known.node for known in [*bucket.entries, *bucket.replacements]]
            crowds = Counter(subnet_of(node.host) for node in here if not kind_of(node.host).is_lan)
            assert crowds == bucket.subnets
            assert max(crowds.values(), default=0) <= SUBNET_NODES_PER_BUCKET
            everyone += here
        crowds = Counter(subnet_of(node.host) for node in everyone if not kind_of(node.host).is_lan)
        assert crowds == self.table._subnets
        assert max(crowds.values(), default=0) <= SUBNET_NODES_PER_TABLE

    @invariant()
    def every_node_is_proven_and_in_one_place_of_its_own_bucket(self) -> None:
        seen: set[PeerId] = {ALICE}
        for number, bucket in enumerate(self.table._buckets):
            for known in [*bucket.entries, *bucket.replacements]:
                assert known.node.node_id not in seen
                seen.add(known.node.node_id)
                assert bucket_of(ALICE, known.node.node_id) == number
                assert known.node in self.proven[known.node.node_id]

    @invariant()
    def what_is_handed_out_is_in_the_table(self) -> None:
        entries = {known.node for known in self.table}
        assert len(entries) == len(self.table)
        assert set(self.table.closest(ALICE, 1000)) == entries
        assert set(self.table.random_nodes(1000)) == entries


TestNodeTable = TableMachine.TestCase
TestNodeTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
