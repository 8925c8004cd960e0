"""What discovery says and does not say to single nodes, in virtual time."""

from __future__ import annotations

import pytest

from services.peer_gateway.core.addresses import UdpAddress
from services.peer_gateway.core.arrival_gate import HOST_DATAGRAMS_AT_ONCE
from services.peer_gateway.core.discovery_actions import EndpointMoved, NodesFound, RecordFound, SeedsWanted, StoreNode
from services.peer_gateway.core.discv4_faults import DropCause
from services.peer_gateway.core.discv4_types import (
    Endpoint,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Ping,
    Pong,
)
from services.peer_gateway.core.endpoint_proofs import NODES_PER_HOST, PROOF_LIFETIME_S
from services.peer_gateway.core.enr import endpoint_pairs, sign_record
from services.peer_gateway.core.node_table import BUCKET_SIZE
from services.peer_gateway.core.own_endpoint import STATEMENT_LIFETIME_S, STATEMENTS_NEEDED, Advertised
from services.peer_gateway.core.packet_exchange import STRANGERS_PENDING, STRANGERS_PENDING_PER_HOST
from services.peer_gateway.core.revalidation import PINGS_PER_CHECK, REVALIDATE_INTERVAL_S
from services.peer_gateway.core.searches import MAX_FIND_FAILURES
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.lone_discovery import OUR_HOST, PORT, UNIX_OFFSET_S, LoneDiscovery, ScriptedNode
from tests.support.nodes import bucket_of, real_id

TARGET = PeerId(b"\x07" * 64)


@pytest.fixture
def ours() -> LoneDiscovery:
    """Our node, past its first look around the empty network."""
    made = LoneDiscovery()
    made.pass_time(2.0)
    return made


@pytest.fixture
def alice(ours: LoneDiscovery) -> ScriptedNode:
    return ScriptedNode(ours, "alice")


@pytest.fixture
def mallory(ours: LoneDiscovery) -> ScriptedNode:
    return ScriptedNode(ours, "mallory", "66.6.6.6")


def found(name: str, host: str) -> Enode:
    return Enode(real_id(name), host, PORT, PORT)


def live(seconds: float, *nodes: ScriptedNode) -> int:
    """Let time go by while these nodes answer their Pings; how many they were."""
    answered = 0
    for _ in range(int(seconds / 0.25)):
        nodes[0].ours.pass_time(0.25)
        answered += sum(node.answer_pings() for node in nodes)
    return answered


# --- endpoint proof


def test_ping_is_answered_and_its_sender_asked_for_a_proof(ours, alice):
    ping_hash = alice.ping()
    [(pong, _)] = alice.heard(Pong)
    assert pong.ping_hash == ping_hash
    assert pong.recipient == Endpoint(alice.enode.host, alice.enode.udp_port, alice.enode.tcp_port)
    [(ping, _)] = alice.heard(Ping)
    assert ping.sender == Endpoint(OUR_HOST, PORT, PORT)
    assert ping.expiration == int(ours.now + UNIX_OFFSET_S) + 20
    assert ours.sent == []
    assert len(ours.core.table) == 0


def test_node_that_answers_our_ping_enters_the_table(ours, alice):
    alice.bond()
    assert ours.core.table.get(alice.enode.node_id) == alice.enode
    assert ours.core.bond_count == 1


def test_second_ping_earns_no_second_proof_while_one_is_under_way(ours, alice):
    alice.ping()
    alice.ping()
    assert len(alice.heard(Pong)) == 2
    assert len(alice.heard(Ping)) == 1


def test_node_of_the_table_is_not_asked_for_another_proof(ours, alice):
    alice.bond()
    alice.ping()
    assert alice.heard(Ping) == []


def test_proof_is_good_for_a_day(ours, alice):
    alice.bond()
    ours.now += PROOF_LIFETIME_S - 1
    alice.say(FindNode(TARGET, alice.expiration))
    assert ours.drops == []
    ours.now += 1
    alice.say(FindNode(TARGET, alice.expiration))
    assert ours.drops == [DropCause.UNPROVEN]


def test_node_that_pings_from_another_port_stays_where_it_is_until_it_answers_there(ours, alice):
    alice.bond()
    moved = ScriptedNode(ours, "alice", port=PORT + 1)
    moved.ping()
    assert ours.core.table.get(alice.enode.node_id) == alice.enode
    assert moved.answer_pings() == 1
    assert ours.core.table.get(alice.enode.node_id) == moved.enode


def test_tcp_port_is_what_the_node_itself_says(ours, alice):
    alice.bond()
    alice.ping(sender=Endpoint("", 0, 4001))
    told = Enode(alice.enode.node_id, alice.enode.host, 4001, PORT)
    assert ours.core.table.get(alice.enode.node_id) == told
    assert live(2 * REVALIDATE_INTERVAL_S, alice) >= 1
    assert ours.core.table.get(alice.enode.node_id) == told


def test_proof_for_one_host_says_nothing_of_another(ours, alice):
    alice.bond()
    elsewhere = UdpAddress("22.0.0.1", PORT)
    alice.say(FindNode(TARGET, alice.expiration), elsewhere)
    assert ours.drops == [DropCause.UNPROVEN]
    assert [to for to, _ in ours.sent if to == elsewhere] == []


def test_ping_of_an_expired_date_is_not_answered(ours, alice):
    alice.ping(expiration=int(ours.now + UNIX_OFFSET_S) - 1)
    assert ours.drops == [DropCause.EXPIRED]
    assert ours.sent == []


def test_clock_that_was_set_moves_what_counts_as_expired(ours, alice):
    ours.core.set_unix_offset(UNIX_OFFSET_S + 100)
    alice.ping()
    assert ours.drops == [DropCause.EXPIRED]


def test_our_own_words_sent_back_are_dropped(ours, alice):
    echo = ScriptedNode(ours, "us")
    echo.ping()
    assert ours.drops == [DropCause.FROM_SELF]
    assert ours.sent == []


def test_host_that_is_not_allowed_hears_nothing():
    ours = LoneDiscovery(allowed=lambda host: host != "21.0.0.1")
    ScriptedNode(ours, "alice").ping()
    assert ours.drops == [DropCause.NOT_ALLOWED]
    assert ours.sent == []


# --- replies that were not asked for


def test_pong_that_nobody_waits_for_has_no_effect(ours, mallory):
    mallory.pong(bytes(32))
    assert ours.drops == [DropCause.UNSOLICITED]
    assert ours.core.bond_count == len(ours.core.table) == 0


@pytest.mark.parametrize("change", ["hash", "address", "signer", "late"])
def test_pong_counts_only_from_the_node_asked_at_its_address_for_that_ping_in_time(ours, alice, mallory, change):
    alice.ping()
    [(_, ping_hash)] = alice.heard(Ping)
    if change == "hash":
        alice.pong(ping_hash[::-1])
    elif change == "address":
        alice.pong(ping_hash, source=UdpAddress("22.0.0.1", PORT))
    elif change == "signer":
        mallory.pong(ping_hash, source=alice.address)
    else:
        ours.pass_time(0.5)
        alice.pong(ping_hash)
    assert ours.drops == [DropCause.UNSOLICITED]
    assert ours.core.bond_count == len(ours.core.table) == 0


def test_neighbours_that_were_not_asked_for_never_enter_the_table(ours, mallory):
    mallory.bond()
    mallory.name([found("bob", "23.0.0.1")])
    assert ours.drops == [DropCause.UNSOLICITED]
    ours.pass_time(5)
    assert ScriptedNode(ours, "bob", "23.0.0.1").heard(Ping) == []


def test_record_that_was_not_asked_for_is_dropped(ours, mallory):
    mallory.bond()
    mallory.say(EnrResponse(bytes(32), sign_record(mallory.key, 1, {})))
    assert ours.drops == [DropCause.UNSOLICITED]


# --- questions


def test_question_of_a_stranger_is_not_answered(ours, alice):
    for packet in (FindNode(TARGET, alice.expiration), EnrRequest(alice.expiration)):
        alice.say(packet)
    assert ours.drops == [DropCause.UNPROVEN] * 2
    assert ours.sent == []


def test_asked_for_neighbours_we_name_the_nearest_proven_ones(ours, alice):
    others = [ScriptedNode(ours, f"node-{number}", f"{30 + number}.0.0.1") for number in range(25)]
    for other in others:
        other.bond()
    alice.bond()
    ScriptedNode(ours, "silent", "29.0.0.1").ping()
    alice.say(FindNode(TARGET, alice.expiration))
    named = [node for neighbors, _ in alice.heard(Neighbors) for node in neighbors.nodes]
    assert named == ours.core.table.closest(TARGET, BUCKET_SIZE)
    assert {node.node_id for node in named} <= {other.enode.node_id for other in [*others, alice]}


def test_asked_for_neighbours_we_tell_the_internet_nothing_of_our_network(ours, alice):
    near = ScriptedNode(ours, "near", "192.168.0.7")
    alice.bond()
    near.bond()
    alice.say(FindNode(TARGET, alice.expiration))
    [(neighbors, _)] = alice.heard(Neighbors)
    assert [node.host for node in neighbors.nodes] == ["21.0.0.1"]
    near.say(FindNode(TARGET, near.expiration))
    [(neighbors, _)] = near.heard(Neighbors)
    assert {node.host for node in neighbors.nodes} == {"192.168.0.7", "21.0.0.1"}


def test_proven_node_is_given_our_record(ours, alice):
    alice.bond()
    request_hash = alice.say(EnrRequest(alice.expiration))
    [(response, _)] = alice.heard(EnrResponse)
    assert response.request_hash == request_hash
    assert response.record == ours.core.own.record
    assert (response.record.host, response.record.udp_port, response.record.tcp_port) == (OUR_HOST, PORT, PORT)


def test_record_that_we_asked_for_is_told(ours, alice, mallory):
    ours.carry(ours.core.request_record(alice.enode, ours.now))
    [(_, request_hash)] = alice.heard(EnrRequest)
    alice.say(EnrResponse(request_hash, sign_record(mallory.key, 9, {})))
    record = sign_record(alice.key, 9, endpoint_pairs("21.0.0.1", 1, 2))
    alice.say(EnrResponse(request_hash, record))
    assert ours.drops == [DropCause.UNSOLICITED]
    assert ours.all_told(RecordFound) == [RecordFound(record)]


# --- what a stranger can make grow


def test_one_host_has_few_proofs_under_way_and_its_later_pings_are_only_answered(ours):
    for number in range(STRANGERS_PENDING_PER_HOST + 5):
        ScriptedNode(ours, f"sybil-{number}", "66.6.6.6", 1025 + number).ping()
    assert len([1 for _, opened in ours.sent if isinstance(opened.packet, Ping)]) == STRANGERS_PENDING_PER_HOST
    assert len([1 for _, opened in ours.sent if isinstance(opened.packet, Pong)]) == STRANGERS_PENDING_PER_HOST + 5
    assert ours.drops == [DropCause.TOO_MANY] * 5


def test_all_hosts_together_have_a_bounded_number_of_proofs_under_way(ours):
    for number in range(STRANGERS_PENDING + 20):
        ScriptedNode(ours, f"sybil-{number}", f"66.6.{number // 200}.{1 + number % 200}").ping()
    assert ours.core.pending_count == STRANGERS_PENDING
    assert ours.drops == [DropCause.TOO_MANY] * 20
    ours.pass_time(0.5)
    assert ours.core.pending_count == 0


def test_one_host_cannot_push_out_the_proofs_of_others(ours, alice):
    alice.bond()
    for number in range(3 * NODES_PER_HOST):
        ScriptedNode(ours, f"sybil-{number}", "66.6.6.6", 1025 + number).bond()
        ours.pass_time(0.4)
        alice.answer_pings()
    assert ours.core.bond_count <= 1 + NODES_PER_HOST
    alice.say(FindNode(TARGET, alice.expiration))
    assert len(alice.heard(Neighbors)) == 1


def test_flood_of_one_host_is_turned_away_before_it_costs_much(ours, alice, mallory):
    for _ in range(int(HOST_DATAGRAMS_AT_ONCE) + 40):
        mallory.ping()
    assert len(mallory.heard(Pong)) == HOST_DATAGRAMS_AT_ONCE
    assert ours.drops.count(DropCause.TOO_MANY) == 40
    alice.bond()
    assert alice.enode.node_id in ours.core.table


# --- lookups


def test_lookup_asks_the_nearest_known_and_finds_whom_they_name(ours, alice):
    alice.bond()
    bob = ScriptedNode(ours, "bob", "23.0.0.1")
    ours.carry(ours.core.look_up(bob.enode.node_id, ours.now))
    [(question, _)] = alice.heard(FindNode)
    assert question.target == bob.enode.node_id
    alice.name([bob.enode, *(found(f"crowd-{number}", f"{40 + number}.0.0.1") for number in range(15))])
    bob.ping()
    bob.answer_pings()
    assert len(bob.heard(FindNode)) == 1
    bob.name([alice.enode] * 16)
    live(20, alice, bob)
    [lookup] = [told for told in ours.all_told(NodesFound) if told.target == bob.enode.node_id]
    assert list(lookup.nodes) == [bob.enode, alice.enode]
    assert bob.enode.node_id in ours.core.table


def test_node_that_answers_no_ping_is_not_found_nor_asked(ours, alice):
    alice.bond()
    ghost = ScriptedNode(ours, "ghost", "23.0.0.1")
    ours.carry(ours.core.look_up(TARGET, ours.now))
    alice.name([ghost.enode] * 16)
    ours.pass_time(5)
    assert ghost.heard(FindNode) == []
    [lookup] = [told for told in ours.all_told(NodesFound) if told.target == TARGET]
    assert list(lookup.nodes) == [alice.enode]
    assert ghost.enode.node_id not in ours.core.table


@pytest.mark.parametrize(
    "node",
    [
        found("bob", "192.168.0.7"),
        found("bob", "127.0.0.1"),
        found("bob", "0.0.0.0"),
        found("bob", ""),
        Enode(real_id("bob"), "23.0.0.1", 30303, 53),
        Enode(PeerId(b"\xff" * 64), "23.0.0.1", 30303, 30303),
    ],
)
def test_unusable_neighbour_is_not_even_pinged(ours, alice, node):
    alice.bond()
    ours.carry(ours.core.look_up(TARGET, ours.now))
    alice.name([node] * 16)
    ours.pass_time(3)
    assert [to for to, _ in ours.sent if to.host == node.host] == []


def test_question_is_tried_again_when_it_was_lost(ours, alice):
    alice.bond()
    ours.carry(ours.core.look_up(TARGET, ours.now))
    assert len(alice.heard(FindNode)) == 1
    ours.pass_time(0.5)
    # It may have forgotten us: it is asked only after it could prove our endpoint anew.
    alice.answer_pings()
    alice.ping()
    assert len(alice.heard(FindNode)) == 1
    alice.name([alice.enode] * 16)
    ours.pass_time(3)
    assert [list(told.nodes) for told in ours.all_told(NodesFound) if told.target == TARGET] == [[alice.enode]]


def test_lookup_of_an_empty_table_ends_at_once(ours):
    ours.carry(ours.core.look_up(TARGET, ours.now))
    assert NodesFound(TARGET, []) in ours.told


def test_no_more_than_three_nodes_are_asked_at_once(ours):
    nodes = [ScriptedNode(ours, f"node-{number}", f"{30 + number}.0.0.1") for number in range(12)]
    for node in nodes:
        node.bond()
    ours.carry(ours.core.look_up(TARGET, ours.now))
    asked = [node for node in nodes if node.heard(FindNode)]
    nearest = ours.core.table.closest(TARGET, 3)
    assert {node.enode for node in asked} == set(nearest)


# --- care of the table


def test_silent_node_is_dropped_after_two_pings(ours, alice):
    alice.bond()
    ours.pass_time(REVALIDATE_INTERVAL_S + 1.5)
    assert len(alice.heard(Ping)) >= PINGS_PER_CHECK
    assert alice.enode.node_id not in ours.core.table
    assert ours.core.bond_count == 0


def test_one_lost_pong_costs_nobody_its_place(ours, alice):
    alice.bond()
    while not alice.heard(Ping):
        ours.pass_time(0.1)
    ours.pass_time(0.6)
    assert alice.answer_pings() == 1
    ours.pass_time(1.0)
    assert alice.enode.node_id in ours.core.table


def test_node_that_moved_while_it_was_checked_stays(ours, alice):
    alice.bond()
    while not alice.heard(Ping):
        ours.pass_time(0.1)
    moved = ScriptedNode(ours, "alice", "22.0.0.1")
    moved.bond()
    ours.pass_time(1.2)
    assert ours.core.table.get(alice.enode.node_id) == moved.enode


def test_node_that_leaves_five_questions_unanswered_is_dropped_where_others_crowd(ours, alice):
    own_id = ours.core.own.record.node_id
    bucket = bucket_of(own_id, alice.enode.node_id)
    strangers = [ScriptedNode(ours, f"node-{number}", f"{30 + number}.0.0.1") for number in range(60)]
    crowd = [node for node in strangers if bucket_of(own_id, node.enode.node_id) == bucket][:10]

    def all_but_alice_answer() -> None:
        for _ in range(80):
            live(0.25, alice, *crowd)
            for node in crowd:
                if node.heard(FindNode):
                    node.name([node.enode for node in crowd])

    for node in crowd:
        node.bond()
    all_but_alice_answer()
    alice.bond()
    for number in range(MAX_FIND_FAILURES):
        assert alice.enode.node_id in ours.core.table
        ours.carry(ours.core.look_up(PeerId(bytes([number]) * 64), ours.now))
        all_but_alice_answer()
    assert alice.enode.node_id not in ours.core.table
    assert all(node.enode.node_id in ours.core.table for node in crowd)


def test_what_was_only_named_is_not_found_even_when_there_was_no_time_to_ask(ours):
    liars = [ScriptedNode(ours, f"liar-{number}", f"{30 + number}.0.0.1") for number in range(6)]
    for liar in liars:
        liar.bond()
    ours.carry(ours.core.look_up(TARGET, ours.now))
    for step in range(320):
        live(0.25, *liars)
        for place, liar in enumerate(liars):
            if liar.heard(FindNode):
                crowd = [real_id(f"ghost-{place}-{number}") for number in range(16)]
                liar.name([Enode(node_id, f"77.{place}.{step % 250}.1", PORT, PORT) for node_id in crowd])
    [lookup] = [told for told in ours.all_told(NodesFound) if told.target == TARGET]
    assert {node.node_id for node in lookup.nodes} <= {liar.enode.node_id for liar in liars}


def test_a_flood_from_forged_addresses_does_not_cost_the_table_its_nodes(ours, alice):
    alice.bond()
    ours.sent.clear()
    checks = 0
    while checks < PINGS_PER_CHECK:
        ours.pass_time(0.1)
        if ours.sent:
            for number in range(1500):
                ours.core.receive(b"noise", UdpAddress(f"66.{number // 250}.{number % 250}.1", PORT), ours.now)
            checks += alice.answer_pings()
            ours.sent.clear()
    ours.pass_time(1)
    assert alice.enode.node_id in ours.core.table


def test_node_that_answers_its_check_stays(ours, alice):
    alice.bond()
    assert 8 <= live(100, alice) <= 60
    assert alice.enode.node_id in ours.core.table


def test_node_written_down_is_one_that_was_here_for_five_minutes(ours, alice):
    alice.bond()
    live(280, alice)
    assert ours.all_told(StoreNode) == []
    live(60, alice)
    stored = ours.all_told(StoreNode)
    assert {entry.node for entry in stored} == {alice.enode}
    assert UNIX_OFFSET_S < stored[-1].last_pong_unix_s <= UNIX_OFFSET_S + ours.now


# --- start


def test_start_calls_boot_nodes_and_asks_for_seeds():
    boot = found("boot", "24.0.0.1")
    ours = LoneDiscovery([boot])
    ours.pass_time(0.1)
    assert [to for to, _ in ours.sent] == [UdpAddress("24.0.0.1", PORT)]
    assert ours.all_told(SeedsWanted) == [SeedsWanted()]


def test_seeds_are_pinged_and_enter_once_they_answer(ours):
    seed = ScriptedNode(ours, "seed", "25.0.0.1")
    ours.carry(ours.core.seed([seed.enode, Enode(real_id("odd"), "not an address", 1, 1)], ours.now))
    assert seed.enode.node_id not in ours.core.table
    assert seed.answer_pings() == 1
    assert seed.enode.node_id in ours.core.table


def test_lonely_node_calls_its_boot_nodes_again_and_again():
    ours = LoneDiscovery([found("boot", "24.0.0.1")])
    ours.pass_time(60.0)
    assert len([to for to, _ in ours.sent if to.host == "24.0.0.1"]) >= 6


def test_strangers_do_not_enter_before_those_that_are_asked_had_their_time():
    ours = LoneDiscovery([found("boot", "24.0.0.1")])
    ours.pass_time(0.1)
    mallory = ScriptedNode(ours, "mallory", "66.6.6.6")
    mallory.bond()
    assert len(ours.core.table) == 0
    ours.pass_time(2.0)
    mallory.bond()
    assert mallory.enode.node_id in ours.core.table


# --- our own endpoint


def bonded_witnesses(ours: LoneDiscovery, count: int, seen_at: Endpoint, first: int = 0) -> None:
    for number in range(first, first + count):
        witness = ScriptedNode(ours, f"witness-{number}", f"{100 + number}.0.0.1")
        witness.ping()
        for _, ping_hash in witness.heard(Ping):
            witness.pong(ping_hash, seen_at)


def test_our_endpoint_is_what_ten_neighbourhoods_agree_on(ours, alice):
    outside = Endpoint("198.51.100.7", 40_000, 0)
    seq = ours.core.own.record.seq
    bonded_witnesses(ours, STATEMENTS_NEEDED - 1, outside)
    assert ours.all_told(EndpointMoved) == []
    bonded_witnesses(ours, 1, outside, first=50)
    moved = Endpoint("198.51.100.7", 40_000, PORT)
    assert ours.all_told(EndpointMoved) == [EndpointMoved(moved)]
    assert (ours.core.own.record.host, ours.core.own.record.udp_port) == ("198.51.100.7", 40_000)
    assert ours.core.own.record.seq == seq + 1
    alice.ping()
    [(ping, _)] = alice.heard(Ping)
    assert (ping.sender, ping.enr_seq) == (moved, seq + 1)


def test_many_nodes_of_one_neighbourhood_have_one_voice(ours):
    for number in range(3 * STATEMENTS_NEEDED):
        liar = ScriptedNode(ours, f"liar-{number}", f"66.6.6.{1 + number}")
        liar.ping()
        for _, ping_hash in liar.heard(Ping):
            liar.pong(ping_hash, Endpoint("198.51.100.7", 40_000, 0))
    assert ours.all_told(EndpointMoved) == []


def test_statements_that_disagree_or_are_old_move_nothing(ours):
    bonded_witnesses(ours, STATEMENTS_NEEDED - 1, Endpoint("198.51.100.7", 40_000, 0))
    bonded_witnesses(ours, STATEMENTS_NEEDED - 1, Endpoint("198.51.100.8", 40_000, 0), first=40)
    ours.pass_time(STATEMENT_LIFETIME_S)
    bonded_witnesses(ours, 1, Endpoint("198.51.100.7", 40_000, 0), first=80)
    assert ours.all_told(EndpointMoved) == []


def test_ten_voices_are_not_enough_when_as_many_say_something_else(ours):
    for number in range(STATEMENTS_NEEDED):
        bonded_witnesses(ours, 1, Endpoint(f"198.51.100.{100 + number}", 40_000, 0), first=number)
    bonded_witnesses(ours, STATEMENTS_NEEDED, Endpoint("198.51.100.7", 40_000, 0), first=30)
    assert ours.all_told(EndpointMoved) == []
    bonded_witnesses(ours, 1, Endpoint("198.51.100.7", 40_000, 0), first=60)
    assert [moved.endpoint.host for moved in ours.all_told(EndpointMoved)] == ["198.51.100.7"]


def told_endpoint(ours: LoneDiscovery) -> Endpoint:
    """Where our Pings and our record say that we are; both must say the same."""
    asker = ScriptedNode(ours, "asker", "90.0.0.1")
    asker.ping()
    [(ping, _)] = asker.heard(Ping)
    record = ours.core.own.record
    assert tuple(ping.sender) == (record.host, record.udp_port, record.tcp_port)
    return ping.sender


def test_advertised_address_and_port_stand_whatever_others_see():
    ours = LoneDiscovery(advertised=Advertised("198.51.100.9", 40_303))
    bonded_witnesses(ours, 2 * STATEMENTS_NEEDED, Endpoint("198.51.100.7", 40_000, 0))
    assert ours.all_told(EndpointMoved) == []
    assert told_endpoint(ours) == Endpoint("198.51.100.9", 40_303, 40_303)


def test_address_is_still_learnt_where_the_port_alone_is_advertised():
    ours = LoneDiscovery(advertised=Advertised(port=40_303))
    bonded_witnesses(ours, STATEMENTS_NEEDED, Endpoint("198.51.100.7", 40_000, 0))
    assert told_endpoint(ours) == Endpoint("198.51.100.7", 40_303, 40_303)
