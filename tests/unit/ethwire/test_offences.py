from __future__ import annotations

import importlib
import pkgutil

import pytest
from blocksync.v1 import common_pb2

import services
from services.peer_gateway.core.connection_faults import ReadTimedOut
from services.peer_gateway.core.eth_session import StatusRefused
from services.peer_gateway.core.framing import FrameLimit, FrameTooLarge
from services.peer_gateway.core.message_pipe import HELLO_FRAME_LIMIT, OPEN_FRAME_LIMIT
from services.peer_gateway.core.phases import Phase
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import CONSEQUENCES, Offence, reason_told
from services.shared.rpc.convert import offence_from_proto, offence_to_proto
from services.shared.rpc.errors import InvalidRequest
from services.sync_coordinator.core.sync_faults import SyncFault

SPEC_ROWS = {
    DisconnectReason.USELESS_PEER: {
        *(fault.offence for fault in SyncFault if fault.drops_master),
        SyncFault.INVALID_BODY.offence,
        SyncFault.INVALID_RECEIPTS.offence,
        SyncFault.INVALID_STATE_ENTRY.offence,
        Offence.INVALID_BLOCK,
        Offence.FALSE_ANNOUNCE,
        Offence.DAO_TIMEOUT,
        Offence.NO_COMMON_CAPABILITY,
    },
    DisconnectReason.SUBPROTOCOL_ERROR: {
        Offence.STATUS_MISSING,
        Offence.GENESIS_MISMATCH,
        Offence.NETWORK_MISMATCH,
        Offence.VERSION_MISMATCH,
        Offence.ETH_MESSAGE_UNDECODABLE,
        Offence.ETH_CODE_UNKNOWN,
        Offence.ETH_MESSAGE_OVERSIZED,
        Offence.SECOND_STATUS,
        Offence.DAO_MISMATCH,
        Offence.WHITELIST_MISMATCH,
    },
    DisconnectReason.READ_TIMEOUT: {Offence.STATUS_TIMEOUT},
    DisconnectReason.BREACH_OF_PROTOCOL: {
        Offence.CODE_OUT_OF_RANGE,
        Offence.HANDSHAKE_UNDECODABLE,
        Offence.FRAME_CORRUPT,
        Offence.FRAME_OVERSIZED,
        Offence.COMPRESSION_CORRUPT,
        Offence.BASE_MESSAGE_UNDECODABLE,
        Offence.BASE_MESSAGE_OVERSIZED,
    },
    DisconnectReason.TOO_MANY_PEERS: {Offence.TOO_MANY_PEERS},
    DisconnectReason.ALREADY_CONNECTED: {Offence.ALREADY_CONNECTED},
    DisconnectReason.CONNECTED_TO_SELF: {Offence.CONNECTED_TO_SELF},
    DisconnectReason.UNEXPECTED_IDENTITY: {Offence.UNEXPECTED_IDENTITY},
    DisconnectReason.CLIENT_QUITTING: {Offence.SHUTDOWN},
}
"""Reason by reason, the offences that its row names."""

WHERE_SPEC_IS_SILENT = {
    Offence.HANDSHAKE_TIMEOUT: DisconnectReason.READ_TIMEOUT,
    Offence.READ_TIMEOUT: DisconnectReason.READ_TIMEOUT,
    Offence.WRITE_TIMEOUT: DisconnectReason.NETWORK_ERROR,
    Offence.INVALID_IDENTITY: DisconnectReason.INVALID_IDENTITY,
    Offence.REPLY_MISMATCH: DisconnectReason.USELESS_PEER,
    Offence.STOPPED_ANSWERING: DisconnectReason.USELESS_PEER,
    Offence.BLOCK_BODY_MISMATCH: DisconnectReason.SUBPROTOCOL_ERROR,
    Offence.BANNED: DisconnectReason.USELESS_PEER,
    Offence.COORDINATOR_AWAY: DisconnectReason.TOO_MANY_PEERS,
    Offence.OPERATOR_REQUEST: DisconnectReason.REQUESTED,
    Offence.OUR_DEFECT: DisconnectReason.SUBPROTOCOL_ERROR,
}

OURS_OR_NOBODYS = {offence for offence in Offence if 60 <= offence < 80}


def fault_classes() -> list[type[PeerFault]]:
    """Every class of fault in the services."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, todo = [], [PeerFault]
    while todo:
        below = todo.pop().__subclasses__()
        found += below
        todo += below
    return [kind for kind in found if kind.__module__.startswith("services.")]


def test_every_offence_has_a_row():
    assert set(CONSEQUENCES) == set(Offence)


@pytest.mark.parametrize(
    ("offence", "reason"),
    [(offence, reason) for reason, offences in SPEC_ROWS.items() for offence in sorted(offences)],
    ids=lambda value: value.name,
)
def test_the_table_says_what_its_row_in_the_spec_says(offence, reason):
    assert reason_told(offence) is reason


def test_what_ends_a_connection_is_in_the_spec_or_listed_here():
    of_spec = {offence for offences in SPEC_ROWS.values() for offence in offences}
    told = {offence for offence, row in CONSEQUENCES.items() if row.reason is not None}
    assert told - of_spec == set(WHERE_SPEC_IS_SILENT)
    assert {offence: reason_told(offence) for offence in WHERE_SPEC_IS_SILENT} == WHERE_SPEC_IS_SILENT


def test_only_the_p2p_version_is_never_a_reason_to_leave():
    told = {row.reason for row in CONSEQUENCES.values()}
    assert set(DisconnectReason) - told == {DisconnectReason.INCOMPATIBLE_P2P_VERSION}


@pytest.mark.parametrize("offence", Offence, ids=lambda offence: offence.name)
def test_a_ban_follows_a_dropped_peers_doing_only(offence):
    row = CONSEQUENCES[offence]
    is_the_peers_doing = row.drops and offence not in OURS_OR_NOBODYS
    assert (row.ban_s > 0) is is_the_peers_doing
    assert row.ban_s <= 3600


def test_another_chain_is_banned_for_longer_than_a_breach_and_that_for_longer_than_being_useless():
    order = (Offence.GENESIS_MISMATCH, Offence.CODE_OUT_OF_RANGE, Offence.SYNC_TIMEOUT, Offence.TOO_MANY_PEERS)
    assert [CONSEQUENCES[offence].ban_s for offence in order] == [3600, 600, 60, 0]


@pytest.mark.parametrize("kind", fault_classes(), ids=lambda kind: kind.__name__)
def test_every_fault_is_an_offence_that_ends_the_connection(kind):
    by_instance = {FrameTooLarge, ReadTimedOut, StatusRefused}
    assert hasattr(kind, "offence") is (kind not in by_instance)
    if kind not in by_instance:
        assert CONSEQUENCES[kind.offence].drops


def test_faults_whose_offence_depends_say_the_right_one():
    assert FrameTooLarge(9, FrameLimit(8, Offence.FRAME_OVERSIZED)).offence is Offence.FRAME_OVERSIZED
    assert HELLO_FRAME_LIMIT.offence is Offence.FRAME_OVERSIZED
    assert OPEN_FRAME_LIMIT.offence is Offence.ETH_MESSAGE_OVERSIZED
    in_phase = {phase: ReadTimedOut(phase, 5.0).offence for phase in Phase if phase is not Phase.CLOSED}
    assert in_phase == {
        Phase.AUTH: Offence.HANDSHAKE_TIMEOUT,
        Phase.ACK: Offence.HANDSHAKE_TIMEOUT,
        Phase.HELLO: Offence.HANDSHAKE_TIMEOUT,
        Phase.OPEN: Offence.READ_TIMEOUT,
    }


def test_status_refused_is_never_raised_itself():
    assert StatusRefused.__subclasses__()
    assert all(hasattr(kind, "offence") for kind in StatusRefused.__subclasses__())


@pytest.mark.parametrize("fault", [fault for fault in SyncFault if fault.drops_master])
def test_every_sync_fault_that_drops_the_master_is_an_offence(fault):
    assert CONSEQUENCES[fault.offence].drops


def test_the_contract_has_every_offence_with_its_number():
    assert dict(common_pb2.Offence.items()) == {
        "OFFENCE_UNSPECIFIED": 0,
        **{f"OFFENCE_{offence.name}": offence.value for offence in Offence},
    }
    assert all(offence_from_proto(offence_to_proto(offence)) is offence for offence in Offence)


@pytest.mark.parametrize("number", [0, 14, 99])
def test_number_that_is_no_offence_is_refused(number: int):
    with pytest.raises(InvalidRequest, match=f"{number} is not an offence"):
        offence_from_proto(number)


def test_the_contract_has_every_stage_with_its_number():
    assert dict(common_pb2.ConnectionStage.items()) == {
        "CONNECTION_STAGE_UNSPECIFIED": 0,
        **{f"CONNECTION_STAGE_{stage.name}": stage.value for stage in Stage},
    }
