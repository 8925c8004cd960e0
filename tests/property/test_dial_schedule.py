"""The dial schedule under any order of events: what must never happen, and that every static node gets its turn."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.peer_gateway.core.dial_plan import Dial, DialKind, DialLimits, DialPlan, DialResult
from services.peer_gateway.core.dial_schedule import CANDIDATES, DialSchedule
from services.peer_gateway.core.former_peers import FormerPeer
from services.shared.chainspec.enode import Enode
from services.shared.chainspec.rendezvous import owner_of
from services.shared.ethwire.types import PeerId

OWN, SIBLING = PeerId(b"\x01" * 64), PeerId(b"\x02" * 64)
NODES = [
    Enode(PeerId(bytes([number]) * 64), "10.0.0.1" if number % 3 else "203.0.113.9", 30303, 30303)
    for number in range(10, 60)
]
REDIAL_S = 30.0

some_nodes = st.lists(st.sampled_from(NODES), max_size=20, unique=True)
one_node = st.sampled_from(NODES)


class DialMachine(RuleBasedStateMachine):
    """Plays gateway: starts what is due, ends it some time, and lets peers come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.most_peers = 12
        self.dials = DialSchedule(DialLimits(most_peers=self.most_peers), random.Random(0), OWN)
        self.static: dict[PeerId, Enode] = {}
        self.gateways = {OWN}
        self.places = 0
        self.under_way: dict[PeerId, Dial] = {}
        self.ended_at: dict[PeerId, float] = {}
        self.inbound: dict[PeerId, bool] = {}
        self.banned_until: dict[PeerId, float] = {}

    @initialize(former=some_nodes, strangers=some_nodes)
    def remember(self, former: list[Enode], strangers: list[Enode]) -> None:
        peers = [FormerPeer(node, 990.0) for node in former]
        peers += [FormerPeer(node, 990.0, was_inbound=True) for node in strangers]
        self.dials.add_former(peers, self.now, 1000.0)

    @rule(static=some_nodes, places=st.integers(0, 12), with_sibling=st.booleans())
    def plan(self, static: list[Enode], places: int, with_sibling: bool) -> None:
        before = self.static
        self.static = {node.node_id: node for node in static}
        self.places, self.gateways = places, {OWN, SIBLING} if with_sibling else {OWN}
        for node_id in before.keys() - self.static.keys():
            # As geth: taken out of the list, a node may be dialled at once when it is put back.
            self.ended_at.pop(node_id, None)
        self.dials.set_plan(DialPlan(static=static, gateways=frozenset(self.gateways), dynamic_places=places))

    @rule(nodes=some_nodes)
    def offer(self, nodes: list[Enode]) -> None:
        self.dials.offer(nodes, self.now)

    @rule(node=one_node, for_s=st.floats(1, 100))
    def ban(self, node: Enode, for_s: float) -> None:
        self.banned_until[node.node_id] = self.now + for_s
        self.dials.ban(node.node_id, self.now + for_s)

    @rule(node=one_node)
    def dial_in(self, node: Enode) -> None:
        if node.node_id not in self.inbound:
            self.inbound[node.node_id] = True
            self.dials.on_connected(node.node_id, inbound=True)

    @rule(node=one_node)
    def leave(self, node: Enode) -> None:
        if self.inbound.pop(node.node_id, None) is not None:
            self.dials.on_disconnected(node.node_id)

    @rule(result=st.sampled_from(DialResult), which=st.integers(0, 15))
    def end_dial(self, result: DialResult, which: int) -> None:
        if not self.under_way:
            return
        node_id = list(self.under_way)[which % len(self.under_way)]
        if result is DialResult.JOINED and node_id in self.inbound:
            result = DialResult.FAILED
        dial = self.under_way.pop(node_id)
        if result is DialResult.JOINED:
            self.inbound[node_id] = dial.was_inbound
            self.dials.on_connected(node_id, inbound=dial.was_inbound)
        self.dials.on_dial_ended(node_id, result, self.now)
        self.ended_at[node_id] = self.now

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def start_what_is_due(self) -> None:
        for dial in self.dials.due(self.now):
            node_id = dial.node.node_id
            assert node_id not in self.under_way, "two dials of one node"
            assert node_id not in self.inbound
            assert node_id not in self.gateways
            assert self.now - self.ended_at.get(node_id, -REDIAL_S) >= REDIAL_S, "dialled within the history"
            if dial.kind is DialKind.STATIC:
                assert self.static[node_id] == dial.node
            else:
                assert node_id not in self.static
                assert self.banned_until.get(node_id, 0.0) <= self.now
            if dial.kind is DialKind.DYNAMIC:
                assert owner_of(node_id, self.gateways) == OWN
                assert self._outbound() + self._under_way_unasked() < self.places, "over the quota"
            if dial.kind is DialKind.FORMER:
                assert len(self.inbound.keys() | self.under_way.keys()) < self.most_peers or any(
                    # Chosen together with static dials, which are not held back by it.
                    other.kind is DialKind.STATIC
                    for other in self.under_way.values()
                )
            self.under_way[node_id] = dial
        wakeup = self.dials.next_wakeup()
        assert wakeup is None or wakeup > self.now, "it would be asked again at once, for nothing"

    def _outbound(self) -> int:
        return sum(not inbound and node_id not in self.static for node_id, inbound in self.inbound.items())

    def _under_way_unasked(self) -> int:
        return sum(
            dial.kind is not DialKind.STATIC and not dial.was_inbound and node_id not in self.inbound
            for node_id, dial in self.under_way.items()
        )

    @invariant()
    def never_more_than_sixteen_at_once(self) -> None:
        assert len(self.under_way) <= 16

    @invariant()
    def wanted_is_within_the_quota(self) -> None:
        assert 0 <= self.dials.wanted(self.now) <= max(0, self.places - self._outbound())

    @invariant()
    def candidates_are_bounded(self) -> None:
        assert len(self.dials._candidates) <= CANDIDATES

    def teardown(self) -> None:
        """However it went: each static node that is not connected is dialled within the next few rounds."""
        missing = self.static.keys() - self.inbound.keys() - self.under_way.keys()
        for _ in range(10):
            for dial in self.dials.due(self.now):
                missing.discard(dial.node.node_id)
                self.under_way[dial.node.node_id] = dial
            for node_id in list(self.under_way):
                del self.under_way[node_id]
                self.dials.on_dial_ended(node_id, DialResult.FAILED, self.now)
            self.now += REDIAL_S * 1.1
        assert not missing


TestDialMachine = DialMachine.TestCase
TestDialMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
