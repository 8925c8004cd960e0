import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

import pytest
from blocksync.v1 import broadcast_pb2

from services.peer_gateway.edges import known_transactions
from services.peer_gateway.edges.known_transactions import PART_BYTES, KnownTransactions
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES
from services.shared.ethwire.types import PeerId, TransactionHash
from services.shared.rpc.known_transactions import known_transactions_from_proto
from tests.support.coroutines import finish
from tests.support.transactions import Draft

ALICE, BOB, CAROL = (PeerId(name * 64) for name in (b"A", b"B", b"C"))
NOBODY = cast("Any", None)


def hash_of(number: int) -> TransactionHash:
    return TransactionHash(number.to_bytes(32))


def known_of(*peers: PeerId, **limits: int) -> tuple[KnownTransactions, list[Callable[[], None]]]:
    later: list[Callable[[], None]] = []
    known = KnownTransactions(later.append, **limits)
    for peer in peers:
        known.on_connected(peer, NOBODY)
    return known, later


def told(known: KnownTransactions) -> dict[PeerId, list[TransactionHash]]:
    parts = list(known.parts())
    assert [part.complete for part in parts] == [False] * (len(parts) - 1) + [True]
    return by_peer(parts)


def by_peer(parts: list[broadcast_pb2.KnownTransactions]) -> dict[PeerId, list[TransactionHash]]:
    found: dict[PeerId, list[TransactionHash]] = defaultdict(list)
    for part in parts:
        row, known = known_transactions_from_proto(part)
        for known_hash, knowers in known:
            for place, peer in enumerate(row):
                if peer is not None and knowers >> place & 1:
                    found[peer].append(known_hash)
    return found


def test_what_was_received_and_sent_is_told_by_peer():
    known, _ = known_of(ALICE, BOB)
    draft, typed = Draft(), Draft(kind=1, gas_limit=30_000)
    finish(known.received(ALICE, [draft.wire(), typed.wire(), b"\x82\x03", b"\xf9" + bytes(MAX_TRANSACTION_BYTES)]))
    known.sent([ALICE, BOB, CAROL], [hash_of(7)])
    expected = [keccak256(draft.raw()), keccak256(typed.raw()), hash_of(7)]
    assert told(known) == {ALICE: expected, BOB: [hash_of(7)]}


def test_gateway_without_peers_tells_at_once_that_this_is_all():
    known, _ = known_of()
    assert list(known.parts()) == [broadcast_pb2.KnownTransactions(complete=True)]


@pytest.mark.parametrize("peers", [3, 50, 300])
def test_parts_are_small_and_hold_everything_once(peers):
    rng = random.Random(peers)
    everyone = [PeerId(number.to_bytes(64)) for number in range(peers)]
    known, _ = known_of(*everyone)
    wanted = defaultdict(list)
    for number in range(8000):
        for peer in (chosen := rng.sample(everyone, 2)):
            wanted[peer].append(hash_of(number))
        known.sent(chosen, [hash_of(number)])
    parts = list(known.parts())
    assert len(parts) > 1
    assert all(part.ByteSize() <= PART_BYTES + 70 * peers for part in parts)
    assert by_peer(parts) == wanted


def test_latest_of_each_peer_are_kept_and_the_maker_of_most_loses_its_oldest():
    known, _ = known_of(ALICE, BOB, per_peer=4, distinct=6)
    known.sent([ALICE, BOB], [hash_of(1), hash_of(2)])
    known.sent([ALICE], [hash_of(number) for number in range(10, 20)])
    assert told(known) == {ALICE: [hash_of(number) for number in range(16, 20)], BOB: [hash_of(1), hash_of(2)]}
    known.sent([BOB], [hash_of(3), hash_of(4)])
    assert known.distinct == 6
    assert told(known)[BOB] == [hash_of(number) for number in (1, 2, 3, 4)]


def test_peers_that_come_and_go_while_parts_are_taken_are_never_taken_for_others(monkeypatch):
    monkeypatch.setattr(known_transactions, "PART_BYTES", 40)
    known, later = known_of(ALICE, BOB)
    known.sent([ALICE, BOB], [hash_of(number) for number in range(4)])
    parts = known.parts()
    taken = [next(parts)]
    known.on_disconnected(ALICE, NOBODY)
    known.on_connected(CAROL, NOBODY)
    taken.append(next(parts))
    while later:
        later.pop()()
    known.on_connected(ALICE, NOBODY)
    known.sent([ALICE], [hash_of(3)])
    taken += parts
    assert by_peer(taken) == {ALICE: [hash_of(0), hash_of(3)], BOB: [hash_of(number) for number in range(4)]}
