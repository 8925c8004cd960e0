from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import Admission, HeadSource, Peer, PeerSet
from services.sync_coordinator.core.places import ADMISSION_LASTS_S, Applicant, Place
from tests.support.peers import ALICE, BOB, CAROL, MALLORY

GATEWAY_NODE = PeerId(b"g" * 64)


def peer(node_id: PeerId, total_difficulty: int = 1, gateway_id: str = "north", joined_at: float = 0.0) -> Peer:
    return Peer(
        node_id=node_id,
        gateway_id=gateway_id,
        eth_version=63,
        head_hash=BlockHash(b"h" * 32),
        total_difficulty=total_difficulty,
        joined_at=joined_at,
    )


def applicant(node_id: PeerId, gateway_id: str = "north", **changes: bool) -> Applicant:
    return Applicant(node_id=node_id, gateway_id=gateway_id, **changes)


def test_peer_is_refused_when_all_places_are_taken_by_joined_and_admitted_ones():
    peers = PeerSet(max_peers=2)
    peers.join(peer(ALICE))
    assert peers.admit(applicant(BOB, "north"), now=0.0) is Admission.ADMITTED
    assert peers.admit(applicant(CAROL, "north"), now=0.0) is Admission.TOO_MANY_PEERS
    assert peers.admit(applicant(CAROL, "north", trusted=True), now=0.0) is Admission.ADMITTED


def test_place_is_free_again_when_an_admitted_peer_never_joins():
    peers = PeerSet(max_peers=1)
    assert peers.admit(applicant(ALICE, "north"), now=0.0) is Admission.ADMITTED
    assert peers.admit(applicant(BOB, "north"), now=ADMISSION_LASTS_S - 0.1) is Admission.TOO_MANY_PEERS
    assert peers.admit(applicant(BOB, "north"), now=ADMISSION_LASTS_S) is Admission.ADMITTED


def test_place_is_free_again_when_an_admitted_peer_fails_its_handshake():
    peers = PeerSet(max_peers=1)
    peers.admit(applicant(ALICE, "north"), now=0.0)
    assert peers.leave(ALICE, "north") is None
    assert peers.admit(applicant(BOB, "north"), now=0.0) is Admission.ADMITTED


def test_place_is_given_back_only_by_the_gateway_that_has_it():
    peers = PeerSet(max_peers=1)
    peers.admit(applicant(ALICE, "north"), now=0.0)
    assert peers.leave(ALICE, "south") is None
    assert peers.admit(applicant(BOB, "south"), now=0.0) is Admission.TOO_MANY_PEERS


def test_places_are_free_again_when_their_gateway_is_lost_or_comes_back():
    peers = PeerSet(max_peers=1)
    peers.attach_gateway("north", GATEWAY_NODE, [])
    peers.admit(applicant(ALICE, "north"), now=0.0)
    peers.detach_gateway("north")
    assert peers.admit(applicant(ALICE, "north"), now=0.0) is Admission.ADMITTED
    peers.attach_gateway("north", GATEWAY_NODE, [])
    assert peers.admit(applicant(ALICE, "north"), now=0.0) is Admission.ADMITTED


def test_node_id_is_admitted_once_over_all_gateways():
    peers = PeerSet(max_peers=9)
    peers.admit(applicant(ALICE, "north"), now=0.0)
    assert peers.admit(applicant(ALICE, "north", trusted=True), now=0.0) is Admission.ALREADY_CONNECTED
    peers.join(peer(ALICE))
    assert peers.admit(applicant(ALICE, "north", trusted=True), now=0.0) is Admission.ALREADY_CONNECTED
    assert not peers.join(peer(ALICE, gateway_id="south"))


def test_gateways_are_never_each_others_peers():
    peers = PeerSet(max_peers=9)
    peers.attach_gateway("north", GATEWAY_NODE, [])
    assert peers.admit(applicant(GATEWAY_NODE, "north", trusted=True), now=0.0) is Admission.SELF
    peers.detach_gateway("north")
    assert peers.admit(applicant(GATEWAY_NODE, "north", trusted=True), now=0.0) is Admission.ADMITTED


def test_snapshot_replaces_what_was_known_of_that_gateway_only():
    peers = PeerSet(max_peers=9)
    peers.attach_gateway("south", PeerId(b"s" * 64), [peer(CAROL, gateway_id="south")])
    peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE), peer(BOB)])
    change = peers.attach_gateway("north", GATEWAY_NODE, [peer(BOB), peer(CAROL), peer(MALLORY)])
    assert [each.node_id for each in change.left] == [ALICE]
    assert [each.node_id for each in change.joined] == [MALLORY]
    assert [each.node_id for each in change.duplicates] == [CAROL]
    assert {each.node_id: each.gateway_id for each in peers} == {BOB: "north", CAROL: "south", MALLORY: "north"}


def test_connection_that_outlived_a_coordinator_takes_the_place_of_a_newer_one():
    peers = PeerSet(max_peers=9)
    peers.join(peer(ALICE, gateway_id="south", joined_at=8.0))
    change = peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE, joined_at=-100.0)])
    moves = [[each.gateway_id for each in moved] for moved in (change.joined, change.left, change.duplicates)]
    assert moves == [["north"], ["south"], ["south"]]
    assert [each.gateway_id for each in peers] == ["north"]
    # What the other gateway then says of its end does not touch the one that stays.
    assert peers.leave(ALICE, "south") is None
    assert [each.node_id for each in peers] == [ALICE]


def test_newer_connection_of_a_snapshot_is_the_duplicate():
    peers = PeerSet(max_peers=9)
    peers.join(peer(ALICE, gateway_id="south", joined_at=8.0))
    change = peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE, joined_at=9.0)])
    assert (change.joined, change.left, [each.gateway_id for each in change.duplicates]) == ([], [], ["north"])
    assert [each.gateway_id for each in peers] == ["south"]


def test_peers_of_a_lost_gateway_are_gone_and_the_others_stay():
    peers = PeerSet(max_peers=9)
    peers.attach_gateway("south", PeerId(b"s" * 64), [peer(CAROL, gateway_id="south")])
    peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE), peer(BOB)])
    assert {each.node_id for each in peers.detach_gateway("north")} == {ALICE, BOB}
    assert [each.node_id for each in peers] == [CAROL]


def test_best_peer_is_the_heaviest_and_of_equals_the_first():
    peers = PeerSet(max_peers=9)
    assert peers.best() is None
    for node_id, total_difficulty, joined_at in ((ALICE, 5, 1.0), (BOB, 9, 2.0), (CAROL, 9, 3.0)):
        peers.join(peer(node_id, total_difficulty, joined_at=joined_at))
    assert peers.best() is peers.get(BOB)
    assert peers.raise_head(ALICE, BlockHash(b"n" * 32), 10)
    assert peers.best() is peers.get(ALICE)
    assert not peers.raise_head(CAROL, BlockHash(b"n" * 32), 9)
    peers.leave(ALICE, "north")
    assert peers.best() is peers.get(BOB)


def test_peer_that_is_being_disconnected_is_no_candidate_but_holds_its_place():
    peers = PeerSet(max_peers=2)
    peers.join(peer(ALICE, 9))
    peers.join(peer(BOB, 5))
    peers.dismiss(ALICE, "timeout", now=7.0)
    peers.dismiss(ALICE, "said again", now=8.0)
    assert peers.best() is peers.get(BOB)
    assert (len(peers), peers.candidates) == (2, 1)
    assert [(each.node_id, each.dismissal) for each in peers.leaving()] == [(ALICE, ("timeout", 7.0))]
    assert not peers.raise_head(ALICE, BlockHash(b"n" * 32), 10)
    assert peers.admit(applicant(CAROL), now=8.0) is Admission.TOO_MANY_PEERS
    assert list(peers.dropped) == []
    peers.leave(ALICE, "north")
    assert [each.node_id for each in peers.dropped] == [ALICE]
    assert (peers.leaving(), peers.candidates) == ([], 1)


def test_dropped_peer_that_comes_back_is_a_candidate_again():
    peers = PeerSet(max_peers=9)
    peers.join(peer(ALICE, 9))
    peers.dismiss(ALICE, "timeout", now=7.0)
    assert peers.best() is None
    # Its gateway's snapshot has it still: the order to drop it was lost with the link.
    peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE, 9)])
    assert peers.best() is peers.get(ALICE)
    assert (peers.candidates, peers.leaving()) == (1, [])


def test_head_is_known_by_status_until_a_block_raises_it():
    peers = PeerSet(max_peers=9)
    peers.join(peer(ALICE, 9))
    assert [each.head_source for each in peers] == [HeadSource.STATUS]
    assert not peers.raise_head(ALICE, BlockHash(b"n" * 32), 9)
    assert [each.head_source for each in peers] == [HeadSource.STATUS]
    assert peers.raise_head(ALICE, BlockHash(b"n" * 32), 10)
    assert [each.head_source for each in peers] == [HeadSource.BLOCK]


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_best_and_heaviest_are_those_of_a_plain_search_after_any_events(seed, events):
    rng = random.Random(seed)
    peers = PeerSet(max_peers=9)
    for at in range(events):
        node_id = PeerId(bytes([rng.randrange(12)]) * 64)
        match rng.randrange(4):
            case 0:
                peers.join(peer(node_id, rng.randrange(20), joined_at=float(at)))
            case 1:
                peers.leave(node_id, "north")
            case 2:
                peers.raise_head(node_id, BlockHash(b"n" * 32), rng.randrange(40))
            case 3 if rng.random() < 0.3:
                peers.dismiss(node_id, "timeout", now=float(at))
        candidates = [each for each in peers if each.dismissal is None]
        expected = sorted(candidates, key=lambda each: (-each.total_difficulty, each.joined_at))
        most = rng.randrange(6)
        assert peers.heaviest(most) == expected[:most]
        assert peers.best() is (expected[0] if expected else None)
        assert peers.candidates == len(candidates)
        assert {each.node_id for each in peers.leaving()} == {each.node_id for each in peers} - {
            each.node_id for each in candidates
        }


class CountedDifficulty(int):
    """Counts how often the order of two of them is asked for."""

    asked = 0

    def __lt__(self, other: int) -> bool:
        CountedDifficulty.asked += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        CountedDifficulty.asked += 1
        return isinstance(other, int) and int(self) == int(other)

    def __neg__(self) -> CountedDifficulty:
        return CountedDifficulty(-int(self))

    __hash__ = int.__hash__


def comparisons_of(event_count: int, peer_count: int) -> float:
    """Comparisons for each event: peers join, leave and raise their heads, and after each the best is asked for."""
    rng = random.Random(peer_count)
    peers = PeerSet(max_peers=peer_count)
    ids = [PeerId(number.to_bytes(64)) for number in range(peer_count)]
    for at, node_id in enumerate(ids):
        peers.join(peer(node_id, CountedDifficulty(rng.randrange(10**9)), joined_at=float(at)))
    CountedDifficulty.asked = 0
    for at in range(event_count):
        node_id = rng.choice(ids)
        held = peers.get(node_id)
        if held is None:
            peers.join(peer(node_id, CountedDifficulty(rng.randrange(10**9)), joined_at=float(peer_count + at)))
        elif rng.random() < 0.3:
            peers.leave(node_id, "north")
        else:
            raised = CountedDifficulty(held.total_difficulty + rng.randrange(1, 10**6))
            peers.raise_head(node_id, BlockHash(b"n" * 32), raised)
        peers.best()
        peers.heaviest(1)
    return CountedDifficulty.asked / event_count


def test_events_cost_at_most_in_proportion_to_the_logarithm_of_the_number_of_peers():
    few, many = comparisons_of(20_000, 100), comparisons_of(20_000, 3_200)
    # 32 times the peers: a cost that were linear would be 32 times as much, one of log n is less than twice.
    assert few > 5
    assert many < 2 * few


# Quotas: 9 places, so 3 for peers that gateways dialled of their own accord and 6 for inbound ones.

ENOUGH = 9
KINDS = {
    "inbound": {},
    "inbound trusted": {"trusted": True},
    "inbound static": {"static": True},
    "dynamic": {"inbound": False},
    "dynamic trusted": {"inbound": False, "trusted": True},
    "former": {"inbound": False, "former": True},
    "former that had connected": {"inbound": True, "former": True},
    "static": {"inbound": False, "static": True},
}


def other(number: int) -> PeerId:
    return PeerId((number + 500).to_bytes(2) * 32)


def filled(*, inbound: int, outbound: int, discovers: bool = True) -> PeerSet:
    """A set of 9 places with so many peers, half of them only admitted so far."""
    peers = PeerSet(max_peers=ENOUGH)
    peers.attach_gateway("north", GATEWAY_NODE, [])
    peers.set_discovering("north", discovers=discovers)
    for number in range(inbound + outbound):
        came = {"inbound": number < inbound, "former": True, "trusted": True}
        assert peers.admit(applicant(other(number), "north", **came), now=0.0) is Admission.ADMITTED
        if number % 2:
            entry = peer(other(number))
            entry.inbound = came["inbound"]
            assert peers.join(entry)
    return peers


@pytest.mark.parametrize(
    ("inbound", "outbound", "discovers", "admitted"),
    [
        (0, 0, True, set(KINDS)),
        # The inbound quota is full: what we dial still comes in, and so do trusted ones.
        (6, 0, True, set(KINDS) - {"inbound", "inbound static", "former that had connected"}),
        (5, 0, True, set(KINDS)),
        # The dial quota is full: static and former ones are outside of it.
        (0, 3, True, set(KINDS) - {"dynamic"}),
        (0, 2, True, set(KINDS)),
        (6, 3, True, {"inbound trusted", "dynamic trusted"}),
        (0, 9, True, {"inbound trusted", "dynamic trusted"}),
        (6, 4, True, {"inbound trusted", "dynamic trusted"}),
        # Nobody discovers: every place is for inbound peers, and none for dynamic ones.
        (8, 0, False, set(KINDS) - {"dynamic"}),
        (9, 0, False, {"inbound trusted", "dynamic trusted"}),
    ],
)
def test_admission_counts_places_of_each_kind(inbound, outbound, discovers, admitted):
    for kind, came in KINDS.items():
        peers = filled(inbound=inbound, outbound=outbound, discovers=discovers)
        expected = Admission.ADMITTED if kind in admitted else Admission.TOO_MANY_PEERS
        assert peers.admit(applicant(ALICE, "north", **came), now=1.0) is expected, kind


def test_quotas_are_free_again_when_peers_leave_or_places_lapse_or_gateways_go():
    for free in (
        lambda peers: [peers.leave(other(number), "north") for number in range(6)],
        lambda peers: peers.attach_gateway("north", GATEWAY_NODE, []),
        lambda peers: (peers.detach_gateway("north"), peers.set_discovering("south", discovers=True)),
    ):
        peers = filled(inbound=6, outbound=3)
        free(peers)
        assert peers.admit(applicant(ALICE), now=1.0) is Admission.ADMITTED
    lapsed = filled(inbound=6, outbound=0)
    assert lapsed.admit(applicant(ALICE), now=ADMISSION_LASTS_S - 0.1) is Admission.TOO_MANY_PEERS
    assert lapsed.admit(applicant(ALICE), now=ADMISSION_LASTS_S) is Admission.ADMITTED


def test_former_peer_that_had_connected_has_an_inbound_place_also_when_its_gateway_tells_of_it_anew():
    peers = PeerSet(max_peers=9)
    former = peer(ALICE)
    former.inbound, former.was_inbound = False, True
    peers.attach_gateway("north", GATEWAY_NODE, [former])
    peers.set_discovering("north", discovers=True)
    assert peers.outbound_of() == {"north": 0}
    for number in range(5):
        assert peers.admit(applicant(other(number)), now=0.0) is Admission.ADMITTED
    assert peers.admit(applicant(BOB), now=0.0) is Admission.TOO_MANY_PEERS
    peers.leave(ALICE, "north")
    assert peers.admit(applicant(BOB), now=0.0) is Admission.ADMITTED


def test_quota_is_there_as_long_as_some_gateway_discovers():
    peers = PeerSet(max_peers=25)
    assert peers.dial_quota == 0
    for gateway_id in ("north", "south"):
        peers.attach_gateway(gateway_id, PeerId(gateway_id.encode() * 12), [])
    peers.set_discovering("south", discovers=True)
    assert peers.dial_quota == 8
    assert peers.outbound_of() == {"south": 0}
    peers.detach_gateway("south")
    assert peers.dial_quota == 0


def test_peer_that_becomes_static_leaves_the_dial_quota_and_comes_back_to_it():
    peers = PeerSet(max_peers=9)
    peers.attach_gateway("north", GATEWAY_NODE, [peer(ALICE)])
    peers.set_discovering("north", discovers=True)
    alice = peers.get(ALICE)
    assert alice is not None
    assert peers.outbound_of() == {"north": 1}
    assert peers.mark(alice, static=True, trusted=False)
    assert peers.outbound_of() == {"north": 0}
    assert not peers.mark(alice, static=True, trusted=False)
    assert peers.mark(alice, static=False, trusted=False)
    assert peers.outbound_of() == {"north": 1}
    assert peers.peers_of() == {"north": 1}


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_counts_are_those_of_a_plain_count_after_any_events(seed, events):
    rng = random.Random(seed)
    peers = PeerSet(max_peers=6)
    for now in range(events):
        node_id, gateway_id = PeerId(bytes([rng.randrange(12)]) * 64), rng.choice(["north", "south"])
        came = {name: rng.random() < 0.5 for name in ("inbound", "static", "trusted", "former")}
        match rng.randrange(7):
            case 0 | 1:
                peers.admit(applicant(node_id, gateway_id, **came), now=float(now))
            case 2:
                entry = peer(node_id, gateway_id=gateway_id)
                entry.inbound, entry.static = came["inbound"], came["static"]
                peers.join(entry)
            case 3:
                peers.leave(node_id, gateway_id)
            case 4:
                peers.attach_gateway(
                    gateway_id, PeerId(gateway_id.encode() * 12), [peer(node_id, gateway_id=gateway_id)]
                )
                peers.set_discovering(gateway_id, discovers=came["trusted"])
            case 5:
                peers.detach_gateway(gateway_id)
            case 6:
                held = peers.get(node_id)
                if held is not None:
                    peers.mark(held, static=came["static"], trusted=came["trusted"])
        joined = list(peers)
        holders: list[Place | Peer] = [*peers._places.admitted.values(), *joined]
        everyone = [(one.gateway_id, one.inbound, not one.inbound and not one.static) for one in holders]
        assert peers._places._taken == len(everyone)
        assert peers._places._inbound.total == sum(inbound for _, inbound, _ in everyone)
        assert peers._places.dialled.total == sum(is_dialled for _, _, is_dialled in everyone)
        for each_id, count in peers.peers_of().items():
            assert count == len(peers.of_gateway(each_id))
        for each_id, count in peers.outbound_of().items():
            assert count == sum(is_dialled for gateway, _, is_dialled in everyone if gateway == each_id)
