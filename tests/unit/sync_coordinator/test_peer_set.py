from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import ADMISSION_LASTS_S, Admission, Peer, PeerSet
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


def test_peer_is_refused_when_all_places_are_taken_by_joined_and_admitted_ones():
    peers = PeerSet(max_peers=2)
    peers.join(peer(ALICE))
    assert peers.admit(BOB, "north", trusted=False, now=0.0) is Admission.ADMITTED
    assert peers.admit(CAROL, "north", trusted=False, now=0.0) is Admission.TOO_MANY_PEERS
    assert peers.admit(CAROL, "north", trusted=True, now=0.0) is Admission.ADMITTED


def test_place_is_free_again_when_an_admitted_peer_never_joins():
    peers = PeerSet(max_peers=1)
    assert peers.admit(ALICE, "north", trusted=False, now=0.0) is Admission.ADMITTED
    assert peers.admit(BOB, "north", trusted=False, now=ADMISSION_LASTS_S - 0.1) is Admission.TOO_MANY_PEERS
    assert peers.admit(BOB, "north", trusted=False, now=ADMISSION_LASTS_S) is Admission.ADMITTED


def test_place_is_free_again_when_an_admitted_peer_fails_its_handshake():
    peers = PeerSet(max_peers=1)
    peers.admit(ALICE, "north", trusted=False, now=0.0)
    assert peers.leave(ALICE, "north") is None
    assert peers.admit(BOB, "north", trusted=False, now=0.0) is Admission.ADMITTED


def test_place_is_given_back_only_by_the_gateway_that_has_it():
    peers = PeerSet(max_peers=1)
    peers.admit(ALICE, "north", trusted=False, now=0.0)
    assert peers.leave(ALICE, "south") is None
    assert peers.admit(BOB, "south", trusted=False, now=0.0) is Admission.TOO_MANY_PEERS


def test_places_are_free_again_when_their_gateway_is_lost_or_comes_back():
    peers = PeerSet(max_peers=1)
    peers.attach_gateway("north", GATEWAY_NODE, [])
    peers.admit(ALICE, "north", trusted=False, now=0.0)
    peers.detach_gateway("north")
    assert peers.admit(ALICE, "north", trusted=False, now=0.0) is Admission.ADMITTED
    peers.attach_gateway("north", GATEWAY_NODE, [])
    assert peers.admit(ALICE, "north", trusted=False, now=0.0) is Admission.ADMITTED


def test_node_id_is_admitted_once_over_all_gateways():
    peers = PeerSet(max_peers=9)
    peers.admit(ALICE, "north", trusted=False, now=0.0)
    assert peers.admit(ALICE, "north", trusted=True, now=0.0) is Admission.ALREADY_CONNECTED
    peers.join(peer(ALICE))
    assert peers.admit(ALICE, "north", trusted=True, now=0.0) is Admission.ALREADY_CONNECTED
    assert not peers.join(peer(ALICE, gateway_id="south"))


def test_gateways_are_never_each_others_peers():
    peers = PeerSet(max_peers=9)
    peers.attach_gateway("north", GATEWAY_NODE, [])
    assert peers.admit(GATEWAY_NODE, "north", trusted=True, now=0.0) is Admission.SELF
    peers.detach_gateway("north")
    assert peers.admit(GATEWAY_NODE, "north", trusted=True, now=0.0) is Admission.ADMITTED


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


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_best_peer_is_that_of_a_plain_search_after_any_events(seed, events):
    rng = random.Random(seed)
    peers = PeerSet(max_peers=9)
    for at in range(events):
        node_id = PeerId(bytes([rng.randrange(12)]) * 64)
        match rng.randrange(3):
            case 0:
                peers.join(peer(node_id, rng.randrange(20), joined_at=float(at)))
            case 1:
                peers.leave(node_id, "north")
            case 2:
                peers.raise_head(node_id, BlockHash(b"n" * 32), rng.randrange(40))
        expected = min(peers, key=lambda each: (-each.total_difficulty, each.joined_at), default=None)
        assert peers.best() is expected
