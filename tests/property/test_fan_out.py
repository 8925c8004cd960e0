"""Who is sent a block and who is told of it: against a model with one plain list per peer."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import BlockRelay, JoinedPeer, RelayBlock
from services.broadcaster.core.fan_out import FanOut, PlaceInRow, choose_propagation_peers, fan_out_count, share_of
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.types import Announce, BlockHash, PeerId

PEERS = [PeerId(number.to_bytes(64, "big")) for number in range(12)]
GATEWAYS = [GatewayId("east"), GatewayId("west"), GatewayId("north")]
BLOCKS_PER_PEER, DISTINCT_BLOCKS = 5, 14

peers = st.sampled_from(PEERS)
gateways = st.sampled_from(GATEWAYS)
hashes = st.integers(0, 25).map(lambda number: BlockHash(number.to_bytes(32, "big")))
joined_peers = st.builds(JoinedPeer, peers, st.lists(hashes, max_size=8))


@given(
    policy=st.sampled_from(FanOut),
    ids=st.lists(st.binary(min_size=4, max_size=4), unique=True, max_size=200),
    seed=st.integers(),
)
def test_propagation_picks_peers_that_lack_the_block_once_each(policy, ids, seed):
    chosen = choose_propagation_peers(policy, ids, random.Random(seed))
    assert len(set(chosen)) == len(chosen) == fan_out_count(policy, len(ids))
    assert set(chosen) <= set(ids)


@given(lacking=st.integers(0, 10_000))
def test_the_fan_out_is_the_square_root_with_a_floor_of_four_and_never_more_than_lack_it(lacking):
    assert fan_out_count(FanOut.SEED, lacking) == min(lacking, max(4, math.isqrt(lacking)))


@given(policy=st.sampled_from(FanOut), lacking=st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_shares_of_several_broadcasters_add_up_to_the_fan_out_over_all_their_peers(policy, lacking):
    everywhere = sum(lacking)
    shares = [
        share_of(policy, count, PlaceInRow(sum(lacking[:index]), everywhere)) for index, count in enumerate(lacking)
    ]
    assert sum(shares) == fan_out_count(policy, everywhere)
    assert all(0 <= share <= count for share, count in zip(shares, lacking, strict=True))


@given(
    policy=st.sampled_from(FanOut),
    lacking=st.integers(0, 400),
    before=st.integers(0, 400),
    everywhere=st.integers(0, 2000),
)
def test_share_is_within_the_peers_that_are_there_when_the_count_was_out_of_date(policy, lacking, before, everywhere):
    assert 0 <= share_of(policy, lacking, PlaceInRow(before, everywhere)) <= lacking


@settings(max_examples=60)
@given(
    peer_count=st.integers(0, 120),
    gateway_count=st.integers(1, 4),
    origins=st.sets(st.integers(0, 119), max_size=10),
    knowing=st.sets(st.integers(0, 119), max_size=60),
    policy=st.sampled_from(FanOut),
    seed=st.integers(),
)
def test_every_peer_that_lacks_a_block_hears_of_it_exactly_once(
    peer_count, gateway_count, origins, knowing, policy, seed
):
    relay = BlockRelay(policy, random.Random(seed))
    ids = [PeerId(number.to_bytes(64, "big")) for number in range(peer_count)]
    block = RelayBlock(BlockHash(b"\x01" * 32), 1, b"header", b"body", 1)
    for index in range(gateway_count):
        known = [
            JoinedPeer(peer, [block.block_hash] if number in knowing else [])
            for number, peer in enumerate(ids)
            if number % gateway_count == index
        ]
        relay.attach(GatewayId(str(index)), known)
    propagation = relay.propagate(block, [PeerId(number.to_bytes(64, "big")) for number in origins])
    announces = relay.announce(Announce(block.block_hash, 1), [])
    for sends in (propagation.sends, announces):
        assert len({send.gateway for send in sends}) == len(sends)
        assert all(
            int.from_bytes(peer, "big") % gateway_count == int(send.gateway) for send in sends for peer in send.peers
        )
    heard = [peer for sends in (propagation.sends, announces) for send in sends for peer in send.peers]
    assert sorted(heard) == [peer for number, peer in enumerate(ids) if number not in origins | knowing]
    assert sum(len(send.peers) for send in propagation.sends) == fan_out_count(policy, len(heard))
    assert propagation.lacking == len(heard)


class RelayMachine(RuleBasedStateMachine):
    """Gateways and peers come and go in any order. The model: each peer's gateway, and all it was marked with."""

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed):
        self.relay = BlockRelay(
            FanOut.SEED, random.Random(seed), blocks_per_peer=BLOCKS_PER_PEER, distinct_blocks=DISTINCT_BLOCKS
        )
        self.gateway_of: dict[PeerId, GatewayId] = {}
        self.attached: set[GatewayId] = set()
        self.marked: dict[PeerId, set[BlockHash]] = {}

    @rule(gateway=gateways, snapshot=st.lists(joined_peers, max_size=6))
    def attach(self, gateway, snapshot):
        self.relay.attach(gateway, snapshot)
        self._forget(gateway)
        self.attached.add(gateway)
        for joined in snapshot:
            self._join(gateway, joined)

    @rule(gateway=gateways)
    def detach(self, gateway):
        self.relay.detach(gateway)
        self._forget(gateway)
        self.attached.discard(gateway)

    @rule(gateway=gateways, joined=joined_peers)
    def join(self, gateway, joined):
        if gateway in self.attached:
            self.relay.join(gateway, joined)
            self._join(gateway, joined)

    @rule(gateway=gateways, peer=peers)
    def leave(self, gateway, peer):
        expected = self.gateway_of.get(peer) == gateway
        assert self.relay.leave(gateway, peer) == expected
        if expected:
            del self.gateway_of[peer], self.marked[peer]

    @rule(gateway=gateways, peer=peers, block_hashes=st.lists(hashes, max_size=8))
    def mark(self, gateway, peer, block_hashes):
        expected = self.gateway_of.get(peer) == gateway
        assert self.relay.mark_known(gateway, peer, block_hashes) == expected
        if expected:
            self.marked[peer].update(block_hashes)

    @rule(block_hash=hashes, origin=peers)
    def propagate(self, block_hash, origin):
        propagation = self.relay.propagate(RelayBlock(block_hash, 1, b"header", b"body", 1), [origin])
        sent = self._check_sends(propagation.sends, block_hash, origin)
        self._mark([*sent, origin], block_hash)
        assert len(sent) == fan_out_count(FanOut.SEED, propagation.lacking)

    @rule(block_hash=hashes, origin=peers)
    def announce(self, block_hash, origin):
        announced = self._check_sends(self.relay.announce(Announce(block_hash, 1), [origin]), block_hash, origin)
        never_marked = {peer for peer, marked in self.marked.items() if block_hash not in marked and peer != origin}
        assert never_marked <= set(announced)
        self._mark([*announced, origin], block_hash)

    @invariant()
    def limits_hold(self):
        if hasattr(self, "relay"):
            assert self.relay.distinct_blocks <= DISTINCT_BLOCKS
            assert self.relay.peers == len(self.gateway_of)
            assert self.relay.gateways == len(self.attached)

    def _check_sends(self, sends, block_hash, origin):
        heard = [(send.gateway, peer) for send in sends for peer in send.peers]
        assert len({peer for _, peer in heard}) == len(heard)
        assert len({send.gateway for send in sends}) == len(sends)
        assert all(self.gateway_of[peer] == gateway for gateway, peer in heard)
        assert origin not in {peer for _, peer in heard}
        return [peer for _, peer in heard]

    def _join(self, gateway, joined):
        self.gateway_of[joined.peer] = gateway
        self.marked[joined.peer] = set(joined.known_blocks)

    def _mark(self, known_to, block_hash):
        for peer in known_to:
            if peer in self.marked:
                self.marked[peer].add(block_hash)

    def _forget(self, gateway):
        for peer in [peer for peer, owner in self.gateway_of.items() if owner == gateway]:
            del self.gateway_of[peer], self.marked[peer]


class KnownSetsMachine(RuleBasedStateMachine):
    """Without the limit over all peers the sets are exactly one bounded first-in-first-out list per peer."""

    def __init__(self):
        super().__init__()
        self.sets = KnownSets(BLOCKS_PER_PEER, 10_000)
        self.model: dict[PeerId, list[BlockHash]] = {}

    @rule(peer=peers)
    def add(self, peer):
        self.sets.add_peer(peer)
        self.model[peer] = []

    @rule(peer=peers)
    def forget(self, peer):
        if peer in self.model:
            self.sets.forget_peer(peer)
            del self.model[peer]

    @rule(peer=peers, block_hash=hashes)
    def mark(self, peer, block_hash):
        if peer in self.model:
            known = self.model[peer]
            assert self.sets.mark(peer, block_hash) == (block_hash not in known)
            if block_hash not in known:
                known.append(block_hash)
                del known[:-BLOCKS_PER_PEER]

    @rule(block_hash=hashes)
    def ask(self, block_hash):
        lacking = self.sets.lacking(block_hash)
        assert len(set(lacking)) == len(lacking)
        assert set(lacking) == {peer for peer, known in self.model.items() if block_hash not in known}

    @invariant()
    def sets_are_the_models(self):
        assert {peer: self.sets.hashes_of(peer) for peer in self.model} == self.model
        assert self.sets.distinct == len({known_hash for known in self.model.values() for known_hash in known})


class CrowdedSetsMachine(RuleBasedStateMachine):
    """With a tight limit over all peers: what is held is a part of what was marked, and within both limits."""

    def __init__(self):
        super().__init__()
        self.sets = KnownSets(BLOCKS_PER_PEER, DISTINCT_BLOCKS)
        self.marked: dict[PeerId, set[BlockHash]] = {}

    @rule(peer=peers)
    def add(self, peer):
        self.sets.add_peer(peer)
        self.marked[peer] = set()

    @rule(peer=peers)
    def forget(self, peer):
        if peer in self.marked:
            self.sets.forget_peer(peer)
            del self.marked[peer]

    @rule(peer=peers, block_hashes=st.lists(hashes, min_size=1, max_size=8))
    def mark(self, peer, block_hashes):
        if peer in self.marked:
            self.sets.mark_all(peer, block_hashes)
            self.marked[peer].update(block_hashes)
            assert self.sets.knows(peer, block_hashes[-1])

    @invariant()
    def limits_hold(self):
        held = {peer: self.sets.hashes_of(peer) for peer in self.marked}
        assert all(len(set(known)) == len(known) <= BLOCKS_PER_PEER for known in held.values())
        assert all(set(known) <= self.marked[peer] for peer, known in held.items())
        assert self.sets.distinct == len({known_hash for known in held.values() for known_hash in known})
        assert self.sets.distinct <= DISTINCT_BLOCKS


TestRelay = RelayMachine.TestCase
TestKnownSets = KnownSetsMachine.TestCase
TestCrowdedSets = CrowdedSetsMachine.TestCase
TestRelay.settings = TestKnownSets.settings = TestCrowdedSets.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
