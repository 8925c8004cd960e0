"""Announced and propagated blocks, and all that may happen to them: over many seeds, by outcome."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, BlockHash
from services.sync_coordinator.core.block_queue import (
    BLOCKS_PER_PEER,
    DISTANCE_ABOVE_HEAD,
    DISTANCE_BELOW_HEAD,
)
from services.sync_coordinator.core.open_announces import ANNOUNCES_PER_PEER
from services.sync_coordinator.core.sync_actions import SyncMode
from tests.support.chain_maker import EMPTY_BODY, MadeChain, made_chain
from tests.support.drawn_sync import MODES
from tests.support.seeds import over_seeds
from tests.support.sim_fetch import SimFetch

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)

SETTLES_S = 20.0
"""Longer than anything that one announce or block sets off."""


def following(seed: int, mode: SyncMode) -> tuple[SimFetch, MadeChain, int]:
    """A node at a drawn head of a drawn chain."""
    chain = made_chain(160, branch=70 + seed % 4, empty_every=(1, 2, 5, 1000)[seed % 4])
    sim = SimFetch(seed, mode, chain.shortened(20 + 7 * seed % 60))
    return sim, chain, sim.head_number


def imported_in_order(sim: SimFetch, start: int, last: int) -> bool:
    """Whether every block after `start` was imported once, in order, and nothing else was."""
    return sim.imported == list(range(start + 1, last + 1)) and sim.head_number == last


def is_idle(sim: SimFetch) -> bool:
    """Whether the fetcher has forgotten all that is over: neither a timer nor an entry is left."""
    fetcher = sim.fetcher
    return fetcher.next_wakeup() is None and not fetcher._open_announces._of and not fetcher.blocks.open_blocks


@each_mode
@over_seeds
def test_sequential_announcements_are_imported_one_after_the_other(seed, mode):
    sim, chain, start = following(seed, mode)
    peers = [sim.peer(f"peer {index}", chain) for index in range(sim.chance.randint(1, 5))]
    last = start + sim.chance.randint(5, 60)
    for number in range(start + 1, last + 1):
        sim.announce(sim.chance.choice(peers), number)
        sim.run(sim.chance.uniform(3.5, 6))
    assert imported_in_order(sim, start, last)
    assert sim.dropped == {}
    assert is_idle(sim)


@each_mode
@over_seeds
def test_concurrent_announcements_are_asked_for_and_imported_once(seed, mode):
    sim, chain, start = following(seed, mode)
    peers = [sim.peer(f"peer {index}", chain) for index in range(sim.chance.randint(2, 12))]
    last = start + sim.chance.randint(5, 30)
    for number in range(start + 1, last + 1):
        for peer in peers:
            sim.net.at(sim.net.now + sim.chance.uniform(0, 3), partial(sim.announce, peer, number))
        sim.run(4.0)
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    assert max(Counter(block_hash for _, block_hash in sim.asked_headers).values()) == 1
    assert is_idle(sim)


@each_mode
@over_seeds
def test_overlapping_announcements_are_imported_in_order(seed, mode):
    sim, chain, start = following(seed, mode)
    peers = [sim.peer(f"peer {index}", chain) for index in range(sim.chance.randint(1, 5))]
    last = start + sim.chance.randint(5, DISTANCE_ABOVE_HEAD)
    for number in range(start + 1, last + 1):
        sim.announce(sim.chance.choice(peers), number)
        sim.run(sim.chance.uniform(0, 0.3))
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    assert is_idle(sim)


@each_mode
@over_seeds
def test_pending_deduplication_asks_once_while_an_answer_is_awaited(seed, mode):
    sim, chain, start = following(seed, mode)
    slow = [sim.peer(f"peer {index}", chain, nearest=1.2) for index in range(sim.chance.randint(2, 8))]
    sim.announce(slow[0], start + 1)
    for _ in range(sim.chance.randint(5, 40)):
        # As long as the header, the body or the import is under way.
        sim.net.at(sim.chance.uniform(0, 2.4), lambda: sim.announce(sim.chance.choice(slow), start + 1))
    sim.run(SETTLES_S)
    assert len(sim.asked_headers) == 1
    assert len(sim.asked_bodies) <= 1
    assert imported_in_order(sim, start, start + 1)
    assert is_idle(sim)


@each_mode
@over_seeds
def test_random_arrival_is_imported_in_order(seed, mode):
    sim, chain, start = following(seed, mode)
    peers = [sim.peer(f"peer {index}", chain) for index in range(sim.chance.randint(1, 6))]
    last = start + sim.chance.randint(5, DISTANCE_ABOVE_HEAD)
    numbers = list(range(start + 1, last + 1))
    sim.chance.shuffle(numbers)
    for number in numbers:
        tell = sim.chance.choice((sim.announce, sim.propagate))
        tell(sim.chance.choice(peers), number)
        sim.run(sim.chance.uniform(0, 0.2))
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    assert [block.header.number for block in sim.handed] == sim.imported, "each is handed over once, in order"
    assert is_idle(sim)


@each_mode
@over_seeds
def test_random_arrival_is_imported_in_the_end_when_requests_get_lost_and_peers_leave(seed, mode):
    sim, chain, start = following(seed, mode)
    last = start + sim.chance.randint(3, 20)
    stays = sim.peer("stays", chain)
    losing = [sim.peer(f"peer {index}", chain, loss=0.5) for index in range(sim.chance.randint(1, 5))]
    for number in range(start + 1, last + 1):
        for peer in losing:
            sim.net.at(sim.chance.uniform(0, 2), partial(sim.announce, peer, number))
    for peer in losing[1:]:
        sim.net.at(sim.chance.uniform(0, 4), partial(sim.disconnect, peer))
    sim.run(SETTLES_S)
    for number in range(sim.head_number + 1, last + 1):
        sim.announce(stays, number)
    sim.run(SETTLES_S)
    assert sim.head_number == last
    assert len(set(sim.imported)) == len(sim.imported)
    assert sim.dropped == {}
    assert is_idle(sim)


@each_mode
@over_seeds
def test_queue_gap_fill_imports_all_that_waited_for_one_block(seed, mode):
    sim, chain, start = following(seed, mode)
    alice, bob = sim.peer("alice", chain), sim.peer("bob", chain)
    last = start + sim.chance.randint(4, DISTANCE_ABOVE_HEAD)
    gap = sim.chance.randint(start + 1, last - 1)
    for number in range(start + 1, last + 1):
        if number != gap:
            sim.announce(alice, number)
    sim.run(SETTLES_S)
    assert sim.imported == list(range(start + 1, gap))
    sim.chance.choice((sim.propagate, sim.announce))(bob, gap)
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    assert is_idle(sim)


@each_mode
@over_seeds
def test_import_deduplication_hands_a_block_over_once(seed, mode):
    sim, chain, start = following(seed, mode)
    peers = [sim.peer(f"peer {index}", chain) for index in range(sim.chance.randint(2, 10))]
    last = start + sim.chance.randint(2, 20)
    for number in range(start + 1, last + 1):
        for peer in peers:
            tell = sim.chance.choice((sim.propagate, sim.announce))
            sim.net.at(sim.chance.uniform(0, 2), partial(tell, peer, number))
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    assert len(sim.handed) == last - start
    assert is_idle(sim)


def outside(sim: SimFetch, start: int) -> list[int]:
    """Numbers of unknown blocks that are too far below or above our head."""
    below = range(max(1, start - DISTANCE_BELOW_HEAD - 10), start - DISTANCE_BELOW_HEAD)
    above = range(start + DISTANCE_ABOVE_HEAD + 1, start + DISTANCE_ABOVE_HEAD + 30)
    return [sim.chance.choice(below), sim.chance.choice(above), below[-1], above[0]]


def other_branch(chain: MadeChain, seed: int) -> MadeChain:
    """A chain of which we have no block but genesis."""
    return made_chain(160, branch=90 + seed % 3, empty_every=1)


@each_mode
@over_seeds
def test_distant_propagation_is_discarded(seed, mode):
    sim, chain, start = following(seed, mode)
    mallory = sim.peer("mallory", other_branch(chain, seed))
    for number in outside(sim, start):
        sim.propagate(mallory, number)
    assert sim.fetcher.blocks.refused == 4
    assert is_idle(sim)
    sim.propagate(mallory, start + DISTANCE_ABOVE_HEAD)
    assert sim.fetcher.blocks.open_blocks == {mallory.node_id: 1}
    sim.propagate(mallory, start - DISTANCE_BELOW_HEAD)
    assert [block.header.number for block in sim.handed] == [start - DISTANCE_BELOW_HEAD]
    sim.run(SETTLES_S)
    assert sim.imported == []
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_distant_announcement_is_discarded(seed, mode):
    sim, chain, start = following(seed, mode)
    mallory = sim.peer("mallory", other_branch(chain, seed))
    for number in outside(sim, start):
        sim.announce(mallory, number)
    assert is_idle(sim)
    for number in (start + DISTANCE_ABOVE_HEAD, start - DISTANCE_BELOW_HEAD):
        sim.announce(mallory, number)
    sim.run(SETTLES_S)
    assert len(sim.asked_headers) == 2
    assert sim.imported == []
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_invalid_announced_number_drops_the_peer_that_announced_it(seed, mode):
    sim, chain, start = following(seed, mode)
    mallory, alice = sim.peer("mallory", chain), sim.peer("alice", chain)
    number = start + sim.chance.randint(1, 10)
    claimed = sim.chance.choice([n for n in range(start - 7, start + 33) if n != number])
    sim.announce(mallory, number, claimed)
    sim.run(SETTLES_S)
    assert [(name, drop.offence) for name, drop in sim.dropped.items()] == [("mallory", Offence.FALSE_ANNOUNCE)]
    assert sim.imported == []
    for each in range(start + 1, number + 1):
        sim.announce(alice, each)
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, number)
    assert list(sim.dropped) == ["mallory"]
    assert is_idle(sim)


@each_mode
@over_seeds
def test_invalid_header_drops_the_peer_that_gave_it(seed, mode):
    sim, chain, start = following(seed, mode)
    broken = start + sim.chance.randint(1, 10)
    mallory, alice = sim.peer("mallory", chain.broken_at(broken)), sim.peer("alice", chain)
    for number in range(start + 1, broken + 1):
        tell = sim.chance.choice((sim.propagate, sim.announce))
        tell(mallory, number)
    sim.run(SETTLES_S)
    assert list(sim.dropped) == ["mallory"]
    assert imported_in_order(sim, start, broken - 1)
    sim.announce(alice, broken)
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, broken)


@each_mode
@over_seeds
def test_empty_block_short_circuit_asks_for_no_body(seed, mode):
    sim, chain, start = following(seed, mode)
    alice = sim.peer("alice", chain)
    last = start + sim.chance.randint(5, 30)
    for number in range(start + 1, last + 1):
        sim.announce(alice, number)
        sim.run(sim.chance.uniform(0, 2))
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, last)
    asked = sorted(chain.numbers[block_hash] for _, hashes in sim.asked_bodies for block_hash in hashes)
    full = [number for number in range(start + 1, last + 1) if chain.bodies[number] != EMPTY_BODY]
    assert asked == ([] if mode is SyncMode.LIGHT else full)


@each_mode
@over_seeds
def test_announce_memory_attack_is_bounded_and_others_are_heard(seed, mode):
    sim, chain, start = following(seed, mode)
    attackers = [sim.peer(f"mallory {index}", chain) for index in range(sim.chance.randint(1, 3))]
    alice = sim.peer("alice", chain)
    surplus = sim.chance.randint(1, 50)
    for attacker in attackers:
        for _ in range(ANNOUNCES_PER_PEER + surplus):
            announce = Announce(BlockHash(sim.chance.randbytes(32)), start + sim.chance.randint(-7, 32))
            sim.carry_out(sim.fetcher.on_announce(attacker.node_id, announce, sim.net.now))
        assert len(sim.fetcher._open_announces._of[attacker.node_id]) == ANNOUNCES_PER_PEER
    assert sim.fetcher.refused_announces == surplus * len(attackers)
    sim.announce(alice, start + 1)
    sim.run(SETTLES_S)
    assert imported_in_order(sim, start, start + 1)
    assert is_idle(sim)


@each_mode
@over_seeds
def test_block_memory_attack_is_bounded_and_others_are_heard(seed, mode):
    sim, chain, start = following(seed, mode)
    alice = sim.peer("alice", chain)
    surplus = sim.chance.randint(1, 30)
    attackers = [sim.peer(f"mallory {index}", chain) for index in range(sim.chance.randint(1, 3))]
    base = chain.shortened(start + 1)
    number = start + 2
    for which, attacker in enumerate(attackers):
        for index in range(BLOCKS_PER_PEER + surplus):
            attacker.chain = base.extended(1, branch=1000 * (which + 1) + index)
            sim.propagate(attacker, number)
        assert sim.fetcher.blocks.open_blocks[attacker.node_id] == BLOCKS_PER_PEER
    assert sim.fetcher.blocks.over_limit == surplus * len(attackers)
    sim.announce(alice, start + 1)
    sim.propagate(alice, start + 2)
    sim.run(SETTLES_S)
    assert Counter(sim.imported) == {start + 1: 1, start + 2: BLOCKS_PER_PEER * len(attackers) + 1}
    assert sim.chain.header(chain.headers[start + 2].hash) is not None
    assert is_idle(sim)
