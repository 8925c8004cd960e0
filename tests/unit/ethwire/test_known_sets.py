import random
import tracemalloc

import pytest

from services.broadcaster.core.block_relay import BLOCK_HASHES_PER_PEER, DISTINCT_BLOCK_HASHES
from services.shared.ethwire.id_queue import COMPACT_AT, IdQueue
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.most_first import MostFirst
from services.shared.ethwire.types import PeerId

ALICE, BOB, CAROL, MALLORY = (PeerId(name * 64) for name in (b"A", b"B", b"C", b"M"))


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def known_sets(*peers: PeerId, per_peer: int = 4, distinct: int = 100) -> KnownSets:
    sets = KnownSets(per_peer, distinct)
    for peer in peers:
        sets.add_peer(peer)
    return sets


def test_everyone_lacks_a_hash_that_nobody_was_marked_with():
    assert known_sets(ALICE, BOB).lacking(hash_of(1)) == [ALICE, BOB]


def test_a_marked_peer_no_longer_lacks_the_hash():
    sets = known_sets(ALICE, BOB)
    assert sets.mark(ALICE, hash_of(1))
    assert sets.lacking(hash_of(1)) == [BOB]
    assert sets.knows(ALICE, hash_of(1))
    assert not sets.knows(BOB, hash_of(1))


def test_marking_twice_is_nothing_new():
    sets = known_sets(ALICE)
    assert sets.mark(ALICE, hash_of(1))
    assert not sets.mark(ALICE, hash_of(1))
    assert sets.hashes_of(ALICE) == [hash_of(1)]


def test_the_oldest_hash_is_forgotten_when_a_peer_has_too_many():
    sets = known_sets(ALICE, BOB)
    sets.mark(BOB, hash_of(0))
    sets.mark_all(ALICE, [hash_of(number) for number in range(5)])
    assert sets.hashes_of(ALICE) == [hash_of(number) for number in range(1, 5)]
    assert sets.lacking(hash_of(0)) == [ALICE]
    assert sets.knows(BOB, hash_of(0))


def test_a_hash_is_dropped_from_the_index_when_its_last_knower_forgets_it():
    sets = known_sets(ALICE, per_peer=2)
    sets.mark_all(ALICE, [hash_of(1), hash_of(2)])
    sets.mark(ALICE, hash_of(3))
    assert sets.distinct == 2


def test_only_the_latest_are_looked_at_when_one_message_names_too_many():
    sets = known_sets(ALICE)
    assert sets.mark_all(ALICE, [hash_of(number) for number in range(100_000)]) == 4
    assert sets.hashes_of(ALICE) == [hash_of(number) for number in range(99_996, 100_000)]


def test_a_peer_that_comes_back_starts_anew_in_a_free_place():
    sets = known_sets(ALICE, BOB)
    sets.mark(ALICE, hash_of(1))
    sets.forget_peer(ALICE)
    assert ALICE not in sets
    assert sets.distinct == 0
    sets.add_peer(MALLORY)
    assert sets.lacking(hash_of(1)) == [MALLORY, BOB]


def test_a_peer_added_twice_starts_anew():
    sets = known_sets(ALICE)
    sets.mark(ALICE, hash_of(1))
    sets.add_peer(ALICE)
    assert len(sets) == 1
    assert sets.lacking(hash_of(1)) == [ALICE]


def test_the_peer_with_the_most_unshared_hashes_loses_its_oldest_when_there_are_too_many_in_all():
    sets = known_sets(ALICE, BOB, MALLORY, per_peer=10, distinct=8)
    for peer in (ALICE, BOB):
        sets.mark_all(peer, [hash_of(number) for number in range(3)])
    sets.mark_all(MALLORY, [hash_of(number) for number in range(100, 105)])
    sets.mark(ALICE, hash_of(3))
    assert sets.distinct == 8
    assert sets.hashes_of(MALLORY) == [hash_of(number) for number in range(101, 105)]
    assert sets.hashes_of(ALICE) == [hash_of(number) for number in range(4)]
    assert sets.hashes_of(BOB) == [hash_of(number) for number in range(3)]


def test_peers_take_turns_to_lose_hashes_when_all_are_shared():
    sets = known_sets(ALICE, BOB, MALLORY, per_peer=10, distinct=3)
    for peer in (ALICE, BOB):
        sets.mark_all(peer, [hash_of(number) for number in range(3)])
    sets.mark(MALLORY, hash_of(9))
    assert sets.distinct == 3
    assert sets.knows(MALLORY, hash_of(9))


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(ValueError, match="at least 1"):
        KnownSets(*limits)


def test_full_sets_of_50_peers_of_one_chain_fit_in_half_a_megabyte():
    peers = [PeerId(number.to_bytes(64, "big")) for number in range(50)]
    hashes = [hash_of(number) for number in range(BLOCK_HASHES_PER_PEER)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    sets = known_sets(*peers, per_peer=BLOCK_HASHES_PER_PEER, distinct=DISTINCT_BLOCK_HASHES)
    for peer in peers:
        sets.mark_all(peer, hashes)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 512 * 1024


def test_a_queue_keeps_its_order_when_its_front_is_cut_off():
    queue, popped = IdQueue(), []
    for number in range(3 * COMPACT_AT):
        queue.push(number)
        if number % 3:
            popped.append(queue.pop())
    assert popped == list(range(2 * COMPACT_AT))
    assert list(queue) == list(range(2 * COMPACT_AT, 3 * COMPACT_AT))
    assert len(queue) == COMPACT_AT


def test_popping_an_empty_queue_is_refused():
    queue = IdQueue()
    queue.push(1)
    queue.pop()
    with pytest.raises(IndexError):
        queue.pop()


def test_the_ranking_names_a_place_with_the_highest_count_after_any_changes():
    rng, ranking, counts = random.Random(5), MostFirst(), [0] * 6
    for place in range(6):
        ranking.add(place)
    assert ranking.highest() is None
    for _ in range(2_000):
        place = rng.randrange(6)
        step = 1 if counts[place] == 0 or rng.random() < 0.5 else -1
        counts[place] += step
        ranking.change(place, step)
        highest = ranking.highest()
        assert (highest is None) == (max(counts) == 0)
        assert highest is None or counts[highest] == max(counts)


def test_a_removed_place_is_used_again_from_zero():
    ranking = MostFirst()
    ranking.add(0)
    ranking.add(1)
    ranking.remove(0)
    ranking.add(0)
    ranking.change(0, 1)
    assert ranking.highest() == 0


@pytest.mark.parametrize("distinct", [12, 10**6])
@pytest.mark.parametrize("seed", range(10))
def test_marking_one_hash_for_several_peers_is_marking_each(seed, distinct):
    rng = random.Random(seed)
    peers = [PeerId(bytes([number]) * 64) for number in range(6)]
    single, together = known_sets(*peers, per_peer=5), known_sets(*peers, per_peer=5, distinct=distinct)
    for _ in range(300):
        known_hash, chosen = hash_of(rng.randrange(25)), rng.sample(peers, rng.randrange(7))
        if rng.random() < 0.5:
            together.mark_peers([*chosen, MALLORY], known_hash)
        else:
            row = rng.sample([*peers, MALLORY, None], 8)
            bits = sum(1 << place for place, peer in enumerate(row) if peer in chosen or peer in (None, MALLORY))
            together.mark_rows(row, [(known_hash, bits)])
            chosen = [peer for peer in row if peer in chosen]
        assert all(together.knows(peer, known_hash) for peer in chosen)
        for peer in chosen:
            single.mark(peer, known_hash)
            assert len(together.hashes_of(peer)) <= 5
            assert distinct == 12 or together.hashes_of(peer) == single.hashes_of(peer)
        assert together.distinct <= distinct


def test_row_and_bits_name_who_knows_a_hash_and_no_one_who_came_again_since():
    sets = known_sets(ALICE, BOB, CAROL)
    sets.mark_peers([ALICE, CAROL], hash_of(1))
    sets.mark(BOB, hash_of(2))
    assert (sets.row(), sets.knowers_of(hash_of(1)), sets.knowers_of(hash_of(3))) == ([ALICE, BOB, CAROL], 0b101, 0)
    assert sets.hashes() == [hash_of(1), hash_of(2)]
    sets.retire_peer(ALICE)
    sets.add_peer(ALICE)
    assert sets.row() == [None, BOB, CAROL, ALICE]
    assert sets.knowers_of(hash_of(1)) & 0b1110 == 0b100
