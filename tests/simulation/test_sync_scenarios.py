"""Syncs with honest peers: each scenario over many seeds, in each mode, by outcome."""

from __future__ import annotations

from functools import partial

import pytest

from services.sync_coordinator.core.sync_actions import RequestBodies, SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import EMPTY_BODY, MadeChain
from tests.support.drawn_sync import ETH_VERSIONS, LONGEST, MODES, RECEIPTS_SINCE, DrawnSync
from tests.support.seeds import over_seeds
from tests.support.sim_peers import SimPeer
from tests.support.sim_sync import SimSync

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)


def has_all_of(sim: SimSync, chain: MadeChain) -> bool:
    """Whether our chain is this one: head, index and, unless the mode is light, bodies."""
    ours = sim.chain
    if ours.heads().header != chain.head or any(ours.canonical_hash(h.number) != h.hash for h in chain.headers):
        return False
    if sim.mode is SyncMode.LIGHT:
        return True
    pairs = zip(chain.headers, chain.bodies, strict=True)
    return ours.heads().full_block == chain.head and all(ours.bodies[h.hash] == body.body_rlp for h, body in pairs)


def fill(sim: SimSync, chain: MadeChain) -> None:
    """Have `chain` before the first sync."""
    if sim.mode is SyncMode.LIGHT:
        sim.chain.fill_headers(chain)
    else:
        sim.chain.fill(chain)


def asked_bodies(chain: MadeChain, peers: list[SimPeer]) -> list[int]:
    """The numbers of all blocks whose body was asked for, as often as it was."""
    requests = [request for peer in peers for request in peer.asked if isinstance(request, RequestBodies)]
    return [chain.numbers[wanted] for request in requests for wanted in request.hashes]


@pytest.mark.parametrize("eth_version", ETH_VERSIONS)
@each_mode
@over_seeds
def test_canonical_sync_reaches_the_head(seed, mode, eth_version):
    draw = DrawnSync(seed, mode)
    chain, sim = draw.chain(), draw.sim()
    peers = draw.peers(chain, 1, 4, eth_version=eth_version)
    sim.add_peers(*peers)
    if draw.is_fast and eth_version < RECEIPTS_SINCE:
        assert sim.sync(peers[0]) in (None, SyncFault.PEERS_UNAVAILABLE), "of a short chain nothing is fetched fast"
        return
    assert sim.sync(peers[0]) is None
    assert has_all_of(sim, chain)
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_canonical_sync_goes_on_from_what_is_here(seed, mode):
    draw = DrawnSync(seed, mode)
    chain, sim = draw.chain(least=2), draw.sim()
    held = chain.shortened(draw.rng.randrange(chain.head.number))
    if held.head.number:
        fill(sim, held)
    peers = draw.peers(chain, 1, 4)
    sim.add_peers(*peers)
    assert sim.sync(peers[0]) is None
    assert has_all_of(sim, chain)
    repeated = [number for number in asked_bodies(chain, peers) if number <= held.head.number]
    most_repeated = draw.config.span_step_max
    assert len(repeated) <= most_repeated, "the span may miss the ancestor by a step, no more"


@each_mode
@over_seeds
def test_throttling_keeps_what_waits_within_its_limits_when_the_importer_is_slow(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST // 2)
    sim = draw.sim(import_seconds=draw.rng.uniform(0.1, 1.0))
    peers = draw.peers(chain, 1, 5)
    sim.add_peers(*peers)
    assert sim.sync(peers[0]) is None
    assert has_all_of(sim, chain)
    assert sim.most_blocks_waiting <= draw.config.max_assembled_blocks
    assert sim.most_headers_waiting <= draw.config.max_queued_headers


@each_mode
@over_seeds
def test_throttling_asks_for_nothing_while_the_importer_stalls(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST - 20)
    sim, peers = draw.sim(), draw.peers(chain, 1, 5)
    sim.add_peers(*peers)
    sim.start(peers[0])
    stalls_above = draw.rng.randrange(chain.head.number // 2)
    sim.net.run_while(lambda: sim.head_number < stalls_above)
    sim.importer_stalls_until = sim.net.now + 400
    sim.net.run_until(sim.net.now + 200)
    asked = {peer.name: len(peer.asked) for peer in peers}
    sim.net.run_until(sim.net.now + 199)
    since = [request for peer in peers for request in peer.asked[asked[peer.name] :]]
    assert len({(request.peer, getattr(request, "origin", None)) for request in since}) <= 1, (
        "only the held back end of the tail"
    )
    assert len(since) <= 1 + 200 / draw.config.tail_retry_s
    assert sim.most_blocks_waiting <= draw.config.max_assembled_blocks
    assert sim.most_headers_waiting <= draw.config.max_queued_headers
    assert sim.finish() is None
    assert has_all_of(sim, chain)
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_forked_sync_takes_the_longer_branch(seed, mode):
    draw = DrawnSync(seed, mode)
    base = draw.chain()
    ours = draw.branch(base, draw.rng.randrange(1, 100))
    theirs = draw.branch(base, ours.head.number - base.head.number + draw.rng.randrange(1, 100))
    sim, alice, bob = draw.sim(), draw.peer("alice", ours), draw.peer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert has_all_of(sim, ours)
    assert sim.sync(bob) is None
    assert has_all_of(sim, theirs)
    assert sim.chain.header(ours.head.hash) == ours.head, "side blocks stay readable"
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_heavy_forked_sync_takes_the_shorter_branch_that_is_heavier(seed, mode):
    draw = DrawnSync(seed, mode)
    base = draw.chain()
    count = draw.rng.randrange(2, 100)
    ours = draw.branch(base, count)
    theirs = draw.branch(base, draw.rng.randrange(1, count), difficulty=1000 * count)
    sim, alice, bob = draw.sim(), draw.peer("alice", ours), draw.peer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.sync(bob) is None
    assert has_all_of(sim, theirs)
    assert sim.chain.canonical_hash(ours.head.number) is None
    assert sim.dropped == {}


def fork_that_leaves_us_at(draw, number, *, is_heavy):
    """Our chain, and one that left it at this number and has more total difficulty."""
    ours = draw.chain(least=draw.config.max_fork_depth + 60)
    at = number(ours.head.number)
    count = ours.head.number - at
    if is_heavy:
        return ours, draw.branch(ours.shortened(at), max(1, count // 2), difficulty=3000)
    return ours, draw.branch(ours.shortened(at), count + draw.rng.randrange(1, 40))


@each_mode
@over_seeds
def test_bounded_fork_is_refused_when_it_is_too_deep(seed, mode):
    draw = DrawnSync(seed, mode)
    deepest = draw.config.max_fork_depth
    fork = fork_that_leaves_us_at(draw, lambda head: draw.rng.randint(0, head - deepest), is_heavy=False)
    refused_for_its_depth(draw, *fork)


@each_mode
@over_seeds
def test_bounded_heavy_fork_is_refused_when_it_is_too_deep(seed, mode):
    draw = DrawnSync(seed, mode)
    deepest = draw.config.max_fork_depth
    fork = fork_that_leaves_us_at(draw, lambda head: draw.rng.randint(0, head - deepest), is_heavy=True)
    refused_for_its_depth(draw, *fork)


def refused_for_its_depth(draw: DrawnSync, ours: MadeChain, theirs: MadeChain) -> None:
    sim, mallory = draw.sim(), draw.peer("mallory", theirs)
    fill(sim, ours)
    sim.add_peers(mallory, draw.peer("bob", theirs))
    assert theirs.total_difficulty > ours.total_difficulty
    assert sim.sync(mallory) is SyncFault.INVALID_ANCESTOR
    assert sim.dropped == {"mallory": SyncFault.INVALID_ANCESTOR}
    assert has_all_of(sim, ours)


@pytest.mark.parametrize("is_heavy", [False, True], ids=["longer", "heavier"])
@each_mode
@over_seeds
def test_bounded_fork_is_taken_when_it_is_not_too_deep(seed, mode, is_heavy):
    draw = DrawnSync(seed, mode)
    # The span looks at one number in so many, so the ancestor that it finds may be lower than the real one.
    deepest = draw.config.max_fork_depth - draw.config.span_step_max
    ours, theirs = fork_that_leaves_us_at(draw, lambda head: head - draw.rng.randint(1, deepest), is_heavy=is_heavy)
    sim, bob = draw.sim(), draw.peer("bob", theirs)
    fill(sim, ours)
    sim.add_peers(bob)
    assert sim.sync(bob) is None
    assert has_all_of(sim, theirs)


@each_mode
@over_seeds
def test_many_peers_all_help_and_none_is_dropped(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST - 30)
    peers = draw.peers(chain, 8, 40)
    sim = draw.sim()
    sim.add_peers(*peers)
    assert sim.sync(peers[0]) is None
    assert has_all_of(sim, chain)
    assert sim.dropped == {}
    config = draw.config
    gaps_at_once = min(config.skeleton_anchors, config.max_queued_headers // config.headers_per_request)
    assert sum(1 for peer in peers if peer.asked) >= min(len(peers), gaps_at_once)


@each_mode
@over_seeds
def test_many_peers_that_come_and_go_at_any_moment_do_not_stop_the_sync(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST // 2)
    sim, alice = draw.sim(import_seconds=0.005), draw.peer("alice", chain)
    guests = draw.peers(chain, 5, 15)
    sim.add_peers(alice, *guests[::2])
    sim.start(alice)
    for guest in guests:
        comes, goes = sorted(draw.rng.uniform(0, 3) for _ in range(2))
        sim.net.at(comes, partial(sim.add_peers, guest))
        sim.net.at(goes, partial(sim.disconnect, guest))
    assert sim.finish() is None
    assert has_all_of(sim, chain)
    assert sim.progress.timeouts == 0, "what a guest was asked for goes to others as soon as it leaves"
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_mixed_versions_help_each_other(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST // 2)
    peers = [
        draw.peer(f"peer {index}", chain.shortened(draw.rng.randint(0, chain.head.number)), eth_version=version)
        for index, version in enumerate(ETH_VERSIONS * draw.rng.randint(1, 4))
    ]
    master = draw.peer("master", chain)
    sim = draw.sim()
    sim.add_peers(*peers, master)
    assert sim.sync(master) is None
    assert has_all_of(sim, chain)
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_empty_blocks_are_completed_without_a_request(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain()
    sim, peers = draw.sim(), draw.peers(chain, 1, 4, bodies_per_reply=128)
    sim.add_peers(*peers)
    assert sim.sync(peers[0]) is None
    assert has_all_of(sim, chain)
    full = [number for number, body in enumerate(chain.bodies) if body != EMPTY_BODY]
    assert sorted(asked_bodies(chain, peers)) == ([] if mode is SyncMode.LIGHT else full)


@each_mode
@over_seeds
def test_equal_seeds_give_equal_traces(seed, mode):
    def trace(seed: int) -> list[str]:
        draw = DrawnSync(seed, mode)
        chain = draw.chain(least=100)
        sim, peers = draw.sim(), draw.peers(chain, 2, 6, loss=0.02)
        sim.add_peers(*peers)
        sim.sync(peers[0])
        return sim.net.trace

    assert trace(seed) == trace(seed)
    assert trace(seed) != trace(seed + 1)
