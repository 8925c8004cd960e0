from __future__ import annotations

import random
from itertools import pairwise

import pytest

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.core.transaction_relay import MESSAGE_BYTES, TELLING_S, SendTransactions, TransactionRelay
from services.broadcaster.core.transaction_sync import TransactionSync
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.types import PeerId, TransactionHash
from tests.support.transactions import Draft

EAST, WEST = GatewayId("east"), GatewayId("west")
ALICE, BOB, CAROL, MALLORY = (PeerId(name.encode() * 64) for name in "abcm")
TEMPLATE = Draft().checked().transaction


def made(number: int, size_bytes: int = 100) -> Transaction:
    return TEMPLATE._replace(hash=TransactionHash(number.to_bytes(32)), wire=bytes(size_bytes))


def relay_of(*peers: tuple[GatewayId, PeerId], pending: tuple[Transaction, ...] = ()) -> TransactionRelay:
    relay = TransactionRelay(random.Random(7))
    for gateway, peer in peers:
        relay.join(gateway, peer, [one.hash for one in pending])
    return relay


def test_transactions_go_once_to_each_gateway_and_not_to_who_sent_them():
    relay = relay_of((EAST, ALICE), (EAST, BOB), (WEST, CAROL))
    batch = [made(1), made(2)]
    relay.mark_known(EAST, ALICE, [one.hash for one in batch])
    assert relay.relay(batch) == [SendTransactions(EAST, [BOB], batch), SendTransactions(WEST, [CAROL], batch)]
    assert relay.relay(batch) == []


def test_transactions_that_other_peers_lack_go_apart():
    relay = relay_of((EAST, ALICE), (EAST, BOB))
    relay.mark_known(EAST, BOB, [made(2).hash])
    assert relay.relay([made(1), made(2), made(3)]) == [
        SendTransactions(EAST, [ALICE, BOB], [made(1), made(3)]),
        SendTransactions(EAST, [ALICE], [made(2)]),
    ]


def test_message_ends_with_the_transaction_that_reaches_its_size():
    relay = relay_of((EAST, ALICE))
    batch = [made(number, MESSAGE_BYTES // 2) for number in range(5)]
    assert [len(send.transactions) for send in relay.relay(batch)] == [2, 2, 1]


def test_what_a_gateway_says_of_another_s_peer_changes_nothing():
    relay = relay_of((EAST, ALICE), (WEST, CAROL))
    assert not relay.mark_known(WEST, ALICE, [made(1).hash])
    assert not relay.leave(WEST, ALICE)
    assert [send.peers for send in relay.relay([made(1)])] == [[ALICE], [CAROL]]


def test_peer_belongs_to_the_gateway_it_joined_last():
    relay = relay_of((EAST, ALICE), (WEST, ALICE))
    assert relay.detach(EAST) == set()
    assert relay.relay([made(1)]) == [SendTransactions(WEST, [ALICE], [made(1)])]


def test_gateway_takes_its_peers_along():
    relay = relay_of((EAST, ALICE), (EAST, BOB), (WEST, CAROL))
    assert relay.detach(EAST) == {ALICE, BOB}
    assert relay.peers == 1
    assert [send.peers for send in relay.relay([made(1)])] == [[CAROL]]


def test_newcomer_is_owed_what_is_pending_in_packs():
    pending = tuple(made(number, MESSAGE_BYTES // 3 + 1) for number in range(7))
    by_hash = {one.hash: one for one in pending}
    relay = relay_of((EAST, ALICE), pending=pending)
    packs = []
    while (pack := relay.next_pack(by_hash.get)) is not None:
        packs.append(pack)
    assert [len(pack.transactions) for pack in packs] == [3, 3, 1]
    assert [one for pack in packs for one in pack.transactions] == list(pending)
    assert (relay.syncing_peers, relay.relay(pending)) == (0, [])


def test_newcomer_is_not_sent_what_it_knows_or_what_has_left_the_pool():
    pending = (made(1), made(2), made(3))
    relay = relay_of((EAST, ALICE), pending=pending)
    relay.mark_known(EAST, ALICE, [made(1).hash])
    assert relay.next_pack({made(1).hash: made(1), made(3).hash: made(3)}.get) == SendTransactions(
        EAST, [ALICE], [made(3)]
    )
    assert relay.next_pack(lambda _: None) is None


def test_peer_that_left_is_owed_nothing():
    relay = relay_of((EAST, ALICE), pending=(made(1),))
    assert relay.leave(EAST, ALICE)
    assert relay.next_pack({made(1).hash: made(1)}.get) is None


def test_newcomers_take_turns_by_chance():
    sync = TransactionSync(random.Random(3))
    peers = [PeerId(bytes([number]) * 64) for number in range(4)]
    for peer in peers:
        sync.owe(peer, [TransactionHash(bytes([number])) for number in range(20)])
    order = []
    while (turn := sync.pick()) is not None:
        next(sync.take(turn))
        order.append(turn)
    assert [order.count(peer) for peer in peers] == [20] * 4
    assert len(set(order[:8])) > 1
    assert any(first == second for first, second in pairwise(order))


def test_peer_that_comes_anew_is_owed_anew():
    sync = TransactionSync(random.Random(3))
    sync.owe(ALICE, [TransactionHash(b"1"), TransactionHash(b"2")])
    sync.owe(ALICE, [TransactionHash(b"3")])
    assert list(sync.take(ALICE)) == [b"3"]
    sync.owe(ALICE, [])
    assert len(sync) == 0


@pytest.mark.parametrize("distinct", [12, 10**6])
@pytest.mark.parametrize("seed", range(10))
def test_marking_all_who_lack_it_is_marking_each(seed, distinct):
    rng = random.Random(seed)
    peers = [PeerId(bytes([number]) * 64) for number in range(6)]
    single, together = KnownSets(5, distinct), KnownSets(5, distinct)
    for peer in peers:
        single.add_peer(peer)
        together.add_peer(peer)
    for _ in range(300):
        known_hash = bytes([rng.randrange(25)]) * 32
        lacking = together.lacking(known_hash)
        assert lacking == [peer for peer in peers if not together.knows(peer, known_hash)]
        if rng.random() < 0.5:
            lacking = [rng.choice(peers)]
            together.mark(lacking[0], known_hash)
        else:
            assert list(together.mark_lacking(known_hash)) == lacking
            assert all(together.knows(peer, known_hash) for peer in peers)
        for peer in lacking:
            single.mark(peer, known_hash)
        assert together.distinct <= distinct
        for peer in peers:
            assert len(together.hashes_of(peer)) <= 5
            # Over the limit of all, who must forget depends on who came first.
            assert distinct == 12 or together.hashes_of(peer) == single.hashes_of(peer)


@pytest.mark.parametrize("distinct", [30, 10**6])
@pytest.mark.parametrize("seed", range(10))
def test_retired_peers_leave_nothing_behind_once_they_are_swept(seed, distinct):
    rng = random.Random(seed)
    peers = [PeerId(bytes([number]) * 64) for number in range(6)]
    known, model = KnownSets(8, distinct), KnownSets(8, 10**6)
    joined: set[PeerId] = set()
    for _ in range(400):
        peer, known_hash = rng.choice(peers), bytes([rng.randrange(60)]) * 32
        action = rng.random()
        if peer not in joined:
            joined.add(peer)
            known.add_peer(peer)
            model.add_peer(peer)
        elif action < 0.1:
            joined.remove(peer)
            known.retire_peer(peer)
            model.forget_peer(peer)
        elif action < 0.4:
            known.sweep(rng.randrange(1, 10))
        else:
            known.mark(peer, known_hash)
            model.mark(peer, known_hash)
        assert set(known.lacking(known_hash)) <= joined
        assert known.distinct <= distinct
        for one in joined:
            assert distinct == 30 or known.hashes_of(one) == model.hashes_of(one)
    while known.sweep(7):
        pass
    assert known.distinct == len({one for peer in joined for one in known.hashes_of(peer)})
    for peer in joined:
        known.forget_peer(peer)
    assert known.distinct == 0


def test_peer_that_leaves_while_a_batch_is_decided_is_sent_nothing():
    relay = relay_of((EAST, ALICE), (EAST, BOB))
    together: dict[tuple[PeerId, ...], list[Transaction]] = {}
    relay.decide(made(1), together)
    relay.leave(EAST, ALICE)
    assert relay.sends(together) == [SendTransactions(EAST, [BOB], [made(1)])]
    assert relay.sweep(10)
    assert not relay.sweep(10)


def test_peers_of_a_gateway_that_is_back_at_once_are_sent_nothing_again():
    relay = relay_of((EAST, ALICE), (EAST, BOB), (WEST, CAROL))
    pending = [made(1), made(2)]
    relay.relay(pending)
    assert relay.suspend(EAST, 0.0) == {ALICE, BOB}
    assert [send.peers for send in relay.relay([made(3)])] == [[CAROL]]
    pending.append(made(3))
    by_hash = {one.hash: one for one in pending}
    relay.let_go(59.0)
    relay.attach(EAST, [ALICE, MALLORY], list(by_hash))
    packs = []
    while (pack := relay.next_pack(lambda one: by_hash.get(one))) is not None:  # noqa: PLW0108 - typed as asked for
        packs.append((pack.peers, pack.transactions))
    # Who is new is owed all of it.
    assert sorted(packs, key=lambda pack: len(pack[1])) == [([ALICE], [made(3)]), ([MALLORY], pending)]


def test_peers_of_a_gateway_that_stays_away_are_forgotten():
    relay = relay_of((EAST, ALICE))
    relay.relay([made(1)])
    relay.suspend(EAST, 0.0)
    relay.let_go(60.0)
    while relay.sweep(100):
        pass
    assert (relay.distinct_transactions, relay.peers) == (0, 0)
    relay.attach(EAST, [ALICE], [made(1).hash])
    assert relay.next_pack({made(1).hash: made(1)}.get) == SendTransactions(EAST, [ALICE], [made(1)])


def test_suspended_peer_that_connects_anew_begins_anew():
    relay = relay_of((EAST, ALICE))
    relay.relay([made(1)])
    relay.suspend(EAST, 0.0)
    relay.join(WEST, ALICE, [])
    assert relay.relay([made(1)]) == [SendTransactions(WEST, [ALICE], [made(1)])]
    relay.let_go(100.0)
    assert relay.peers == 1


def test_peers_of_a_gateway_that_tells_what_they_know_are_sent_the_rest_when_it_has():
    relay = relay_of((WEST, CAROL))
    relay.attach_awaited(EAST, [ALICE, BOB], 0.0)
    assert [send.peers for send in relay.relay([made(1), made(2)])] == [[CAROL]]
    assert (relay.owes, relay.syncing_peers) == (False, 2)
    relay.know(EAST, [ALICE, None, BOB, CAROL, MALLORY], [(made(1).hash, 0b11011), (made(3).hash, 0b00101)])
    assert relay.relay([made(3)]) == [SendTransactions(WEST, [CAROL], [made(3)])]
    by_hash = {made(number).hash: made(number) for number in (1, 2, 3)}
    relay.all_known(EAST, list(by_hash))
    packs = {}
    while (pack := relay.next_pack(by_hash.get)) is not None:
        packs[pack.peers[0]] = pack.transactions
    assert packs == {ALICE: [made(2)], BOB: [made(1), made(2)]}
    assert relay.relay([made(4)]) == [
        SendTransactions(WEST, [CAROL], [made(4)]),
        SendTransactions(EAST, [ALICE, BOB], [made(4)]),
    ]


def test_gateway_that_is_lost_while_it_tells_is_awaited_again():
    relay = relay_of()
    relay.attach_awaited(EAST, [ALICE], 0.0)
    relay.know(EAST, [ALICE], [(made(1).hash, 1)])
    relay.suspend(EAST, 0.0)
    relay.all_known(EAST, [made(1).hash, made(2).hash])
    assert (relay.owes, relay.syncing_peers) == (False, 0)
    relay.attach_awaited(EAST, [ALICE], 0.0)
    assert relay.relay([made(1), made(2)]) == []
    relay.know(EAST, [ALICE], [(made(2).hash, 1)])
    relay.all_known(EAST, [made(1).hash, made(2).hash])
    # She has connected anew meanwhile: of that only her gateway knows.
    by_hash = {made(number).hash: made(number) for number in (1, 2)}
    assert relay.next_pack(by_hash.get) == SendTransactions(EAST, [ALICE], [made(1)])
    assert relay.next_pack(by_hash.get) is None


def test_gateway_is_late_when_it_has_not_told_all_in_time():
    relay = relay_of()
    relay.attach_awaited(EAST, [ALICE, BOB], 10.0)
    relay.attach_awaited(WEST, [CAROL], 20.0)
    assert relay.late_gateways(9.9 + TELLING_S) == set()
    assert relay.late_gateways(10.0 + TELLING_S) == {EAST}
    relay.all_known(EAST, [])
    assert relay.late_gateways(20.0 + TELLING_S) == {WEST}
    relay.suspend(WEST, 30.0)
    assert relay.late_gateways(100.0 + TELLING_S) == set()


@pytest.mark.parametrize("gateway", [EAST, WEST])
def test_peer_that_connects_anew_while_it_is_awaited_is_a_newcomer(gateway):
    relay = relay_of()
    relay.attach_awaited(EAST, [ALICE], 0.0)
    relay.know(EAST, [ALICE], [(made(1).hash, 1)])
    relay.join(gateway, ALICE, [])
    assert relay.relay([made(1)]) == [SendTransactions(gateway, [ALICE], [made(1)])]
    relay.all_known(EAST, [made(2).hash])
    assert not relay.owes


def test_search_for_a_pack_ends_after_so_many_peers():
    relay = relay_of((EAST, ALICE), (EAST, BOB), pending=(made(1),))
    relay.mark_known(EAST, ALICE, [made(1).hash])
    relay.mark_known(EAST, BOB, [made(1).hash])
    assert relay.next_pack({made(1).hash: made(1)}.get, most_peers=1) is None
    assert relay.owes
    assert relay.next_pack({made(1).hash: made(1)}.get, most_peers=1) is None
    assert not relay.owes
