"""What the pool is made of: allowances, used nonces, fates, the journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.broadcaster.core.fates import DropCause, FateKind, Fates
from services.broadcaster.core.peer_allowance import PeerAllowance
from services.broadcaster.core.transaction import Address
from services.broadcaster.core.used_nonces import UsedNonces
from services.broadcaster.edges.local_journal import JOURNAL_NAME, SPARE_LINES, LocalJournal
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import BlockHash, PeerId, TransactionHash
from tests.support.transactions import Draft

ALICE, BOB = PeerId(b"A" * 64), PeerId(b"B" * 64)
SENDER, OTHER = Address(b"s" * 20), Address(b"o" * 20)
HASH = TransactionHash(b"h" * 32)
WIRES = [Draft(nonce=nonce, kind=nonce % 2, gas_limit=30_000).wire() for nonce in range(8)]


def hash_of(place: int) -> TransactionHash:
    return TransactionHash(keccak256(Draft(nonce=place, kind=place % 2, gas_limit=30_000).raw()))


def test_peer_has_its_allowance_at_once_and_again_each_second():
    allowance = PeerAllowance(per_s=200)
    assert sum(allowance.take(ALICE, 0.0) for _ in range(300)) == 200
    assert sum(allowance.take(ALICE, 0.5) for _ in range(300)) == 100
    assert sum(allowance.take(ALICE, 100.0) for _ in range(300)) == 200
    assert allowance.take(BOB, 100.0)


def test_allowance_does_not_grow_when_time_stands_still():
    allowance = PeerAllowance(per_s=1)
    assert [allowance.take(ALICE, now) for now in (5.0, 5.0, 4.0, 5.9, 6.0)] == [True, False, False, False, True]


def test_allowance_of_a_peer_that_left_is_forgotten():
    allowance = PeerAllowance()
    allowance.take(ALICE, 0.0)
    allowance.forget(ALICE)
    allowance.forget(BOB)
    assert len(allowance) == 0


def test_nonces_are_given_back_with_all_above_them():
    used = UsedNonces()
    for nonce in (3, 4, 5):
        used.use(SENDER, nonce)
    used.use(SENDER, 2)
    assert used.highest(SENDER) == 5
    used.give_back(SENDER, 4)
    assert used.highest(SENDER) == 3
    used.give_back(SENDER, 9)
    assert used.highest(SENDER) == 3
    used.give_back(SENDER, 0)
    assert used.highest(SENDER) is None


def test_senders_seen_longest_ago_are_forgotten():
    used = UsedNonces(kept=2)
    used.use(SENDER, 1)
    used.use(OTHER, 1)
    used.use(SENDER, 2)
    used.use(Address(b"n" * 20), 1)
    assert (used.highest(SENDER), used.highest(OTHER), len(used)) == (2, None, 2)


def test_fate_follows_a_transaction_through_its_life():
    fates = Fates()
    assert fates.of(HASH).kind is FateKind.UNKNOWN
    fates.pooled(HASH, is_local=True)
    fates.sent(HASH, 3)
    assert fates.sent(HASH, 2).peers == 5
    included = fates.included(HASH, 9, BlockHash(b"b" * 32))
    assert (included.kind, included.block_number, included.peers) == (FateKind.INCLUDED, 9, 5)
    assert fates.pooled(HASH, is_local=True).peers == 0
    dropped = fates.dropped(HASH, DropCause.EXPIRED, "too long")
    assert (dropped.kind, dropped.block_number, dropped.explanation) == (FateKind.DROPPED, 0, "too long")


def test_oldest_fate_is_forgotten():
    fates = Fates(kept=2)
    for name in (b"1", b"2", b"1", b"3"):
        fates.pooled(TransactionHash(name), is_local=False)
    assert fates.of(TransactionHash(b"2")).kind is FateKind.UNKNOWN
    assert fates.of(TransactionHash(b"1")).kind is FateKind.POOLED


def test_journal_gives_back_what_was_added_and_not_taken_back(tmp_path: Path):
    journal = LocalJournal(tmp_path)
    assert journal.read() == ([], 0)
    journal.append(WIRES[:3])
    journal.append([], [hash_of(1)])
    journal.append(WIRES[1:2])
    journal.append(WIRES[3:4], [hash_of(0)])
    assert LocalJournal(tmp_path).read() == ([WIRES[2], WIRES[1], WIRES[3]], 0)


@pytest.mark.parametrize("cut", range(2, 40))
@pytest.mark.parametrize("last", [1, 4])
def test_torn_last_line_costs_that_line_alone(tmp_path: Path, last: int, cut: int):
    journal = LocalJournal(tmp_path)
    journal.append([WIRES[0], WIRES[last]])
    path = tmp_path / JOURNAL_NAME
    os.truncate(path, path.stat().st_size - cut)
    again = LocalJournal(tmp_path)
    assert again.read() == (WIRES[:1], 1)
    again.append(WIRES[2:3])
    assert LocalJournal(tmp_path).read().transactions == [WIRES[0], WIRES[2]]


@pytest.mark.parametrize("line", [b"nonsense", b"-", b"f8", b"\xff\xfe", b"-zz", b"00" * 40_000, b"81"])
def test_line_that_nobody_wrote_is_passed_over(tmp_path: Path, line: bytes):
    journal = LocalJournal(tmp_path)
    journal.append(WIRES[:1])
    with (tmp_path / JOURNAL_NAME).open("ab") as file:
        file.write(line + b"\n")
    journal.append(WIRES[1:2])
    found = LocalJournal(tmp_path).read().transactions
    assert found == WIRES[:2]


def test_journal_is_written_anew_when_most_of_it_is_of_no_use(tmp_path: Path):
    journal = LocalJournal(tmp_path)
    while not journal.is_worn(1):
        journal.append(WIRES[:1], [hash_of(0)])
    journal.rewrite(WIRES[:1])
    assert not journal.is_worn(1)
    assert LocalJournal(tmp_path).read() == (WIRES[:1], 0)
    assert (tmp_path / JOURNAL_NAME).read_bytes().count(b"\n") == 1
    assert (tmp_path / JOURNAL_NAME).stat().st_mode & 0o077 == 0
    assert SPARE_LINES > 1


def test_half_a_rewrite_leaves_the_old_journal(tmp_path: Path):
    journal = LocalJournal(tmp_path)
    journal.append(WIRES[:2])
    (tmp_path / JOURNAL_NAME).with_suffix(".new").write_bytes(b"f86")
    assert LocalJournal(tmp_path).read() == (WIRES[:2], 0)


def test_append_that_failed_half_way_does_not_spoil_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = LocalJournal(tmp_path)
    journal.append(WIRES[:1])
    write = os.write

    def half(descriptor: int, content: bytes) -> int:
        write(descriptor, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        journal.append(WIRES[1:2])
    monkeypatch.setattr(os, "write", write)
    journal.append(WIRES[2:3])
    assert LocalJournal(tmp_path).read() == ([WIRES[0], WIRES[2]], 1)
