import random

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import (
    BlockRelay,
    JoinedPeer,
    Propagation,
    RelayBlock,
    SendAnnounce,
    SendBlock,
)
from services.broadcaster.core.fan_out import FanOut
from services.shared.ethwire.types import Announce, BlockHash, PeerId

ALICE, BOB, MALLORY = PeerId(b"A" * 64), PeerId(b"B" * 64), PeerId(b"M" * 64)
EAST, WEST = GatewayId("east"), GatewayId("west")
HASH = BlockHash(b"\x01" * 32)
BLOCK = RelayBlock(HASH, 9, b"header", b"body", 1000)
ANNOUNCE = Announce(HASH, 9)


def make_relay(**peers_of: list[JoinedPeer]) -> BlockRelay:
    relay = BlockRelay(FanOut.SEED, random.Random(7))
    for gateway, peers in peers_of.items():
        relay.attach(GatewayId(gateway), peers)
    return relay


def virtual_peers(count: int, first: int = 0) -> list[PeerId]:
    return [PeerId(number.to_bytes(64, "big")) for number in range(first, first + count)]


def peers_in(sends):
    return [peer for send in sends for peer in send.peers]


def test_nothing_is_sent_when_no_gateway_is_attached():
    assert make_relay().propagate(BLOCK, []) == Propagation([], 0)
    assert make_relay().announce(ANNOUNCE, []) == []


def test_a_block_crosses_to_each_gateway_once_with_the_list_of_its_peers():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)], west=[JoinedPeer(MALLORY)])
    propagation = relay.propagate(BLOCK, [])
    assert sorted((send.gateway, sorted(send.peers)) for send in propagation.sends) == [
        (EAST, [ALICE, BOB]),
        (WEST, [MALLORY]),
    ]
    assert propagation.lacking == 3
    assert all(isinstance(send, SendBlock) and send.block is BLOCK for send in propagation.sends)


def test_a_block_goes_to_the_square_root_of_the_peers_and_the_announce_to_the_rest():
    peers = virtual_peers(1000)
    relay = make_relay(east=[JoinedPeer(peer) for peer in peers[::2]], west=[JoinedPeer(peer) for peer in peers[1::2]])
    propagation = relay.propagate(BLOCK, peers[:3])
    sent = peers_in(propagation.sends)
    assert (len(sent), propagation.lacking, len(propagation.sends)) == (31, 997, 2)
    announced = peers_in(relay.announce(ANNOUNCE, []))
    assert sorted(sent + announced) == peers[3:]
    assert relay.announce(ANNOUNCE, []) == []


def test_a_block_is_not_sent_back_to_where_it_came_from():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)])
    propagation = relay.propagate(BLOCK, [ALICE])
    assert propagation == Propagation([SendBlock(EAST, [BOB], BLOCK)], 1)


def test_an_origin_that_no_gateway_named_is_no_matter():
    relay = make_relay(east=[JoinedPeer(ALICE)])
    assert peers_in(relay.announce(ANNOUNCE, [MALLORY])) == [ALICE]


def test_a_peer_that_announced_a_block_is_not_told_of_it():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)])
    assert relay.mark_known(EAST, ALICE, [HASH])
    assert relay.announce(ANNOUNCE, []) == [SendAnnounce(EAST, [BOB], ANNOUNCE)]


def test_blocks_named_when_a_peer_joins_are_known_to_it():
    relay = make_relay(east=[JoinedPeer(ALICE, [HASH])])
    relay.join(EAST, JoinedPeer(BOB, [HASH]))
    assert relay.announce(ANNOUNCE, []) == []


def test_a_peer_that_left_is_sent_nothing():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)])
    assert relay.leave(EAST, ALICE)
    assert peers_in(relay.announce(ANNOUNCE, [])) == [BOB]
    assert relay.peers == 1


def test_a_message_about_a_peer_that_is_gone_changes_nothing():
    relay = make_relay(east=[JoinedPeer(ALICE)])
    relay.leave(EAST, ALICE)
    assert not relay.leave(EAST, ALICE)
    assert not relay.mark_known(EAST, ALICE, [HASH])
    assert (relay.peers, relay.distinct_blocks) == (0, 0)


def test_a_new_snapshot_replaces_the_peers_and_what_they_know():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)], west=[JoinedPeer(MALLORY)])
    relay.announce(ANNOUNCE, [])
    relay.attach(EAST, [JoinedPeer(BOB)])
    assert (relay.gateways, relay.peers) == (2, 2)
    assert peers_in(relay.announce(ANNOUNCE, [])) == [BOB]


def test_a_detached_gateway_takes_its_peers_along():
    relay = make_relay(east=[JoinedPeer(ALICE)], west=[JoinedPeer(MALLORY)])
    relay.detach(EAST)
    relay.detach(EAST)
    assert (relay.gateways, relay.peers) == (1, 1)
    assert peers_in(relay.announce(ANNOUNCE, [])) == [MALLORY]


def test_a_peer_belongs_to_the_gateway_that_named_it_last_when_two_do():
    relay = make_relay(east=[JoinedPeer(ALICE, [HASH])], west=[])
    relay.join(WEST, JoinedPeer(ALICE))
    assert not relay.leave(EAST, ALICE)
    assert not relay.mark_known(EAST, ALICE, [HASH])
    assert relay.announce(ANNOUNCE, []) == [SendAnnounce(WEST, [ALICE], ANNOUNCE)]
    relay.detach(EAST)
    assert relay.peers == 1


def test_a_peer_named_twice_in_a_snapshot_counts_once():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(ALICE)])
    assert relay.peers == 1
    assert peers_in(relay.announce(ANNOUNCE, [])) == [ALICE]


def test_equal_seeds_choose_equally():
    peers = [JoinedPeer(peer) for peer in virtual_peers(50)]
    assert make_relay(east=peers).propagate(BLOCK, []) == make_relay(east=peers).propagate(BLOCK, [])


def test_a_peer_without_room_for_a_block_is_told_of_it_with_the_others():
    relay = make_relay(east=[JoinedPeer(peer) for peer in virtual_peers(9)])
    chosen = peers_in(relay.propagate(BLOCK, []).sends)
    assert relay.on_refused(EAST, HASH, [chosen[0], MALLORY]) == []
    announced = peers_in(relay.announce(ANNOUNCE, []))
    assert sorted(announced) == sorted({*virtual_peers(9)} - {*chosen[1:]})
    assert relay.announce(ANNOUNCE, []) == []


def test_a_peer_without_room_for_a_block_is_told_at_once_when_the_others_were_already():
    relay = make_relay(east=[JoinedPeer(ALICE)], west=[JoinedPeer(BOB)])
    relay.propagate(BLOCK, [])
    assert relay.announce(ANNOUNCE, []) == []
    assert relay.on_refused(WEST, HASH, [ALICE]) == []
    assert relay.on_refused(EAST, HASH, [ALICE]) == [SendAnnounce(EAST, [ALICE], ANNOUNCE)]


def test_a_peer_without_room_that_left_is_not_told():
    relay = make_relay(east=[JoinedPeer(ALICE), JoinedPeer(BOB)])
    relay.propagate(BLOCK, [])
    relay.on_refused(EAST, HASH, [ALICE, BOB])
    relay.leave(EAST, ALICE)
    assert peers_in(relay.announce(ANNOUNCE, [])) == [BOB]


def test_a_peer_without_room_that_came_back_lacking_the_block_is_told_once():
    relay = make_relay(east=[JoinedPeer(ALICE)])
    relay.propagate(BLOCK, [])
    relay.on_refused(EAST, HASH, [ALICE])
    relay.join(EAST, JoinedPeer(ALICE))
    assert peers_in(relay.announce(ANNOUNCE, [])) == [ALICE]


def test_peers_that_lack_a_block_are_counted_without_those_it_came_from():
    relay = make_relay(east=[JoinedPeer(ALICE, [HASH]), JoinedPeer(BOB)], west=[JoinedPeer(MALLORY)])
    assert relay.count_lacking(HASH, []) == 2
    assert relay.count_lacking(HASH, [BOB]) == 1
    assert relay.propagate(BLOCK, []).lacking == 1
