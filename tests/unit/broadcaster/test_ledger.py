from __future__ import annotations

from services.broadcaster.core.ledger import HEARD_PEERS, BlockSource, Ledger
from services.shared.ethwire.types import Announce, BlockHash, PeerId

ALICE, BOB, MALLORY = PeerId(b"A" * 64), PeerId(b"B" * 64), PeerId(b"M" * 64)


def block(number: int) -> Announce:
    return Announce(BlockHash(number.to_bytes(32, "big")), number)


def relay(ledger: Ledger, announce: Announce, *, at: int = 1000, source: BlockSource = BlockSource.PEER) -> None:
    ledger.on_propagated(announce, source, at, counts=(4, 9), now_us=at + 1)
    ledger.on_announced(announce, source, at + 50, sent_to=5, now_us=at + 60)


def test_a_block_is_told_with_all_its_stages_once_it_was_announced():
    ledger = Ledger()
    ledger.on_arrival(ALICE, [block(7).block_hash], 900, whole=True)
    ledger.on_arrival(BOB, [block(7).block_hash], 950, whole=False)
    relay(ledger, block(7))
    ledger.on_arrival(MALLORY, [block(7).block_hash], 2000, whole=True)
    ledger.on_refused(block(7).block_hash, [BOB])
    record = ledger.get(block(7).block_hash)
    assert record is not None
    assert (record.number, record.source) == (7, BlockSource.PEER)
    assert (record.first_seen_us, record.first_seen_from, record.first_seen_whole) == (900, ALICE, True)
    assert (record.whole_arrivals, record.hash_arrivals, record.duplicates) == (2, 1, 2)
    assert (record.header_valid_us, record.propagated_us, record.imported_us, record.announced_us) == (
        *(1000, 1001, 1050, 1060),
    )
    assert (record.propagated_to, record.lacked_by, record.announced_to, record.refused_by) == (4, 9, 5, 1)
    assert dict(record.stages_us()) == {
        "seen_to_valid": 100,
        "valid_to_propagated": 1,
        "valid_to_imported": 50,
        "imported_to_announced": 10,
    }


def test_the_earliest_sight_is_the_first_whichever_is_told_first():
    ledger = Ledger()
    ledger.on_arrival(BOB, [block(7).block_hash], 950, whole=True)
    relay(ledger, block(7))
    assert [(one.peer, one.first, one.first_whole) for one in ledger.first_peers()] == [(BOB, 1, 1)]
    ledger.on_arrival(ALICE, [block(7).block_hash], 900, whole=False)
    assert [(one.peer, one.first, one.first_whole) for one in ledger.first_peers()] == [(ALICE, 1, 0)]


def test_peers_are_ranked_by_how_often_they_were_first():
    ledger = Ledger()
    for number, peer in enumerate([ALICE, BOB, BOB, MALLORY, BOB, ALICE]):
        ledger.on_arrival(peer, [block(number).block_hash], number + 1, whole=number % 2 == 0)
        relay(ledger, block(number))
    assert [(one.peer, one.first, one.first_whole, one.last_first_us) for one in ledger.first_peers()] == [
        (BOB, 3, 2, 5),
        (ALICE, 2, 1, 6),
        (MALLORY, 1, 0, 4),
    ]


def test_the_oldest_block_gives_way_and_counts_no_more_when_the_ledger_is_full():
    ledger = Ledger(remembered=3)
    for number in range(5):
        ledger.on_arrival(ALICE if number < 2 else BOB, [block(number).block_hash], number + 1, whole=True)
        relay(ledger, block(number))
    assert len(ledger) == 3
    assert ledger.get(block(1).block_hash) is None
    assert [record.number for record in ledger.newest(2)] == [3, 4]
    assert [(one.peer, one.first) for one in ledger.first_peers()] == [(BOB, 3)]


def test_made_up_hashes_push_out_only_those_of_the_peer_that_names_them():
    ledger = Ledger(heard_per_peer=2)
    ledger.on_arrival(ALICE, [block(1).block_hash], 10, whole=False)
    ledger.on_arrival(MALLORY, [block(number).block_hash for number in range(100, 5000)], 11, whole=False)
    assert (ledger.heard, len(ledger), ledger.first_peers()) == (3, 0, [])
    relay(ledger, block(1))
    assert [one.peer for one in ledger.first_peers()] == [ALICE]
    ledger.on_peer_left(MALLORY)
    assert ledger.heard == 0


def test_what_was_heard_is_bounded_when_peers_come_and_go():
    ledger = Ledger(heard_per_peer=1)
    for number in range(HEARD_PEERS + 10):
        ledger.on_arrival(PeerId(number.to_bytes(64, "big")), [block(number).block_hash], 1, whole=False)
    assert ledger.heard == HEARD_PEERS


def test_arrivals_of_our_own_block_are_all_duplicates():
    ledger = Ledger()
    relay(ledger, block(3), source=BlockSource.SUBMITTED)
    ledger.on_arrival(ALICE, [block(3).block_hash], 5000, whole=False)
    record = ledger.get(block(3).block_hash)
    assert record is not None
    assert (record.duplicates, record.source) == (1, BlockSource.SUBMITTED)


def test_a_block_counts_once_when_it_is_relayed_again():
    ledger = Ledger()
    relay(ledger, block(3))
    ledger.on_propagated(block(3), BlockSource.SUBMITTED, 3000, counts=(1, 1), now_us=3001)
    assert ledger.on_announced(block(3), BlockSource.SYNCED, 3000, sent_to=1, now_us=3001) is None
    [record] = ledger.newest(10)
    assert (record.source, record.propagated_to, record.announced_to) == (BlockSource.PEER, 5, 6)
    assert (record.header_valid_us, record.announced_us) == (1000, 1060)


def test_a_stage_is_left_out_when_clocks_contradict_each_other():
    ledger = Ledger()
    ledger.on_arrival(ALICE, [block(3).block_hash], 9_000, whole=True)
    relay(ledger, block(3), at=1000)
    [record] = ledger.newest(1)
    assert "seen_to_valid" not in dict(record.stages_us())


def test_arrivals_after_the_first_are_told_as_duplicates():
    ledger = Ledger()
    hashes = [block(7).block_hash, block(8).block_hash]
    assert ledger.on_arrival(ALICE, hashes, 900, whole=False) == 0
    assert ledger.on_arrival(BOB, hashes[:1], 950, whole=True) == 1
    relay(ledger, block(9), source=BlockSource.SUBMITTED)
    assert ledger.on_arrival(BOB, [block(9).block_hash], 2000, whole=True) == 1, "it was ours first"


def test_a_block_is_forwarded_after_its_first_sight():
    ledger = Ledger()
    ledger.on_arrival(ALICE, [block(7).block_hash], 900, whole=True)
    ledger.on_arrival(ALICE, [block(8).block_hash], 5000, whole=True)
    for number in (7, 8, 9):
        relay(ledger, block(number))
    after = [record.forwarded_after_us for record in ledger.newest(3)]
    assert after == [101, None, None], "no time where clocks contradict, or nobody told of it before"
