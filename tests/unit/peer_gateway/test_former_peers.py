"""What a gateway remembers of its peers, in memory and on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from blocksync.v1 import common_pb2
from structlog.testing import capture_logs

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.former_peers import FORMER_PEERS, ForgetfulPeers, FormerPeer
from services.peer_gateway.edges.former_peer_table import FILE_NAME, FormerPeerTable, open_former_peers
from services.peer_gateway.edges.peer_memory import PeerMemory
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId
from tests.support.wire import local_node

ALICE, BOB = (Enode(local_node(name).node_id, "203.0.113.7", 30303, 30303) for name in ("alice", "bob"))


class FakePeer:
    """As much of a joined peer as is remembered."""

    def __init__(self, node: Enode | None, *, inbound: bool, was_inbound: bool) -> None:
        self._node, self._inbound, self._was_inbound = node, inbound, was_inbound

    def details(self) -> common_pb2.PeerDetails:
        return common_pb2.PeerDetails(inbound=self._inbound, was_inbound=self._was_inbound)

    def listens_at(self) -> Enode | None:
        return self._node


def connect(memory: PeerMemory, node: Enode, *, inbound: bool, listens: bool = True, was_inbound: bool = False) -> None:
    peer = FakePeer(node if listens else None, inbound=inbound, was_inbound=was_inbound)
    memory.on_connected(node.node_id, peer)  # type: ignore[arg-type]


def leave(memory: PeerMemory, node: Enode, reason: DisconnectReason | None, *, by_us: bool = False) -> None:
    memory.on_disconnected(node.node_id, Disconnected(reason, by_us, "", Offence.LEFT))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("services.peer_gateway.edges.peer_memory.time.time", lambda: now[0])
    return now


def test_table_keeps_the_newest_word_across_a_restart(tmp_path: Path):
    table = FormerPeerTable.open(tmp_path)
    table.remember(FormerPeer(ALICE, 5.0))
    table.remember(FormerPeer(BOB, 6.0))
    table.remember(FormerPeer(ALICE, 7.5))
    assert FormerPeerTable.open(tmp_path).recall() == [FormerPeer(BOB, 6.0), FormerPeer(ALICE, 7.5)]
    table.forget(BOB.node_id)
    table.forget(BOB.node_id)
    assert FormerPeerTable.open(tmp_path).recall() == [FormerPeer(ALICE, 7.5)]


def test_table_keeps_who_had_connected(tmp_path: Path):
    FormerPeerTable.open(tmp_path).remember(FormerPeer(ALICE, 5.0, was_inbound=True))
    assert FormerPeerTable.open(tmp_path).recall() == [FormerPeer(ALICE, 5.0, was_inbound=True)]


def test_table_without_directions_gets_them_and_takes_all_for_such_as_had_connected(tmp_path: Path):
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("CREATE TABLE former_peers (node_id BLOB PRIMARY KEY, enode TEXT, last_dialled REAL)")
        database.execute("INSERT INTO former_peers VALUES (?, ?, 5.0)", (ALICE.node_id, str(ALICE)))
    table = FormerPeerTable.open(tmp_path)
    table.remember(FormerPeer(BOB, 6.0))
    assert table.recall() == [FormerPeer(ALICE, 5.0, was_inbound=True), FormerPeer(BOB, 6.0)]


def test_damaged_table_starts_anew_with_one_line(tmp_path: Path):
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 1000)
    with capture_logs() as lines:
        table = FormerPeerTable.open(tmp_path)
    assert len(lines) == 1
    table.remember(FormerPeer(ALICE, 1.0))
    assert table.recall() == [FormerPeer(ALICE, 1.0)]


def test_row_that_is_no_node_is_passed_over(tmp_path: Path):
    table = FormerPeerTable.open(tmp_path)
    table.remember(FormerPeer(ALICE, 1.0))
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("INSERT INTO former_peers VALUES (x'00', 'enode://x', 1.0, 0)")
        database.execute("INSERT INTO former_peers VALUES (x'01', NULL, 1.0, 0)")
    assert table.recall() == [FormerPeer(ALICE, 1.0)]


def test_disk_that_fails_costs_the_memory_and_one_line(tmp_path: Path):
    table = FormerPeerTable.open(tmp_path)
    table.close()
    with capture_logs() as lines:
        table.remember(FormerPeer(ALICE, 1.0))
        table.forget(ALICE.node_id)
    assert len(lines) == 1


def test_gateway_without_a_usable_data_directory_remembers_nothing_and_runs(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert isinstance(open_former_peers(None), ForgetfulPeers)
    with capture_logs() as lines:
        assert isinstance(open_former_peers(tmp_path / "file"), ForgetfulPeers)
    assert len(lines) == 1


def test_memory_is_bounded_and_keeps_the_newest():
    peers = ForgetfulPeers()
    for number in range(FORMER_PEERS + 5):
        peers.remember(FormerPeer(ALICE.__class__(PeerId(number.to_bytes(4) * 16), "203.0.113.7", 1, 1), 0.0))
    found = peers.recall()
    assert len(found) == FORMER_PEERS
    assert found[0].node.node_id == PeerId((5).to_bytes(4) * 16)


def test_dialled_peer_is_remembered_with_the_time_of_its_dial(clock: list[float]):
    store = ForgetfulPeers()
    memory = PeerMemory(store)
    memory.on_dial(ALICE)
    assert store.recall() == []
    clock[0] = 1004.0
    connect(memory, ALICE, inbound=False)
    assert store.recall() == [FormerPeer(ALICE, 1000.0)]


def test_inbound_peer_is_remembered_where_it_listens(clock: list[float]):
    store = ForgetfulPeers()
    memory = PeerMemory(store)
    connect(memory, ALICE, inbound=True)
    connect(memory, BOB, inbound=True, listens=False)
    assert store.recall() == [FormerPeer(ALICE, 0.0, was_inbound=True)]


def test_peer_that_had_connected_is_known_as_such_however_often_it_is_dialled_after_restarts(clock: list[float]):
    store = ForgetfulPeers([FormerPeer(ALICE, 0.0, was_inbound=True)])
    for _ in range(2):
        memory = PeerMemory(store)
        memory.on_dial(ALICE)
        assert store.recall() == [FormerPeer(ALICE, clock[0], was_inbound=True)]
        connect(memory, ALICE, inbound=False, was_inbound=True)
        assert store.recall() == [FormerPeer(ALICE, clock[0], was_inbound=True)]
        clock[0] += 100.0


def test_peer_that_we_chose_ourselves_later_is_known_as_such():
    store = ForgetfulPeers([FormerPeer(ALICE, 0.0, was_inbound=True)])
    memory = PeerMemory(store)
    memory.on_dial(ALICE)
    connect(memory, ALICE, inbound=False)
    assert [peer.was_inbound for peer in store.recall()] == [False]


def test_dial_in_vain_counts_before_it_ends(clock: list[float]):
    store = ForgetfulPeers([FormerPeer(ALICE, 5.0)])
    memory = PeerMemory(store)
    memory.on_dial(ALICE)
    assert store.recall() == [FormerPeer(ALICE, 1000.0)]


@pytest.mark.parametrize(
    ("reason", "by_us", "stays"),
    [
        (None, False, True),
        (DisconnectReason.NETWORK_ERROR, True, True),
        (DisconnectReason.READ_TIMEOUT, True, True),
        # We stop, or they restart.
        (DisconnectReason.CLIENT_QUITTING, True, True),
        (DisconnectReason.CLIENT_QUITTING, False, True),
        (DisconnectReason.REQUESTED, True, False),
        (DisconnectReason.TOO_MANY_PEERS, False, False),
        (DisconnectReason.USELESS_PEER, True, False),
        (DisconnectReason.SUBPROTOCOL_ERROR, True, False),
    ],
)
def test_peer_that_was_lost_is_remembered_and_one_that_left_is_not(
    reason: DisconnectReason | None, by_us: bool, stays: bool
):
    store = ForgetfulPeers()
    memory = PeerMemory(store)
    connect(memory, ALICE, inbound=True)
    leave(memory, ALICE, reason, by_us=by_us)
    assert bool(store.recall()) is stays


def test_memory_of_many_peers_drops_the_oldest_in_the_store_too():
    store = ForgetfulPeers()
    memory = PeerMemory(store)
    for number in range(FORMER_PEERS + 1):
        connect(memory, Enode(PeerId(number.to_bytes(4) * 16), "203.0.113.7", 1, 1), inbound=True)
    assert len(store.recall()) == FORMER_PEERS
    assert store.recall()[0].node.node_id == PeerId((1).to_bytes(4) * 16)
