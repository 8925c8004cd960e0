"""Which disconnect reason a peer gets for what: one table, read by the faults and by the edges.

The reasons are those of devp2p `rlpx.md`, section Disconnect (0x01).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.shared.ethwire.faults import DisconnectReason


class Cause(enum.Enum):
    """Why we end a connection."""

    DROPPED_BY_DOWNLOADER = enum.auto()
    DROPPED_BY_FETCHER = enum.auto()
    DAO_CHALLENGE_TIMEOUT = enum.auto()
    NO_COMMON_CAPABILITY = enum.auto()
    REPLY_MISMATCH = enum.auto()
    STOPPED_ANSWERING = enum.auto()
    STATUS_REFUSED = enum.auto()
    ETH_MESSAGE_UNDECODABLE = enum.auto()
    ETH_MESSAGE_OVERSIZED = enum.auto()
    SECOND_STATUS = enum.auto()
    DAO_MISMATCH = enum.auto()
    WHITELIST_MISMATCH = enum.auto()
    STATUS_TIMEOUT = enum.auto()
    READ_TIMEOUT = enum.auto()
    CODE_OUT_OF_RANGE = enum.auto()
    BASE_PROTOCOL_BROKEN = enum.auto()
    ABOVE_MAX_PEERS = enum.auto()
    ALREADY_CONNECTED = enum.auto()
    CONNECTED_TO_SELF = enum.auto()
    INVALID_IDENTITY = enum.auto()
    UNEXPECTED_IDENTITY = enum.auto()
    CONNECTION_LOST = enum.auto()
    OPERATOR_REQUEST = enum.auto()
    SHUTDOWN = enum.auto()


REASON_OF: Final[Mapping[Cause, DisconnectReason]] = MappingProxyType(
    {
        Cause.DROPPED_BY_DOWNLOADER: DisconnectReason.USELESS_PEER,
        Cause.DROPPED_BY_FETCHER: DisconnectReason.USELESS_PEER,
        Cause.DAO_CHALLENGE_TIMEOUT: DisconnectReason.USELESS_PEER,
        Cause.NO_COMMON_CAPABILITY: DisconnectReason.USELESS_PEER,
        Cause.REPLY_MISMATCH: DisconnectReason.USELESS_PEER,
        Cause.STOPPED_ANSWERING: DisconnectReason.USELESS_PEER,
        Cause.STATUS_REFUSED: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.ETH_MESSAGE_UNDECODABLE: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.ETH_MESSAGE_OVERSIZED: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.SECOND_STATUS: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.DAO_MISMATCH: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.WHITELIST_MISMATCH: DisconnectReason.SUBPROTOCOL_ERROR,
        Cause.STATUS_TIMEOUT: DisconnectReason.READ_TIMEOUT,
        Cause.READ_TIMEOUT: DisconnectReason.READ_TIMEOUT,
        Cause.CODE_OUT_OF_RANGE: DisconnectReason.BREACH_OF_PROTOCOL,
        Cause.BASE_PROTOCOL_BROKEN: DisconnectReason.BREACH_OF_PROTOCOL,
        Cause.ABOVE_MAX_PEERS: DisconnectReason.TOO_MANY_PEERS,
        Cause.ALREADY_CONNECTED: DisconnectReason.ALREADY_CONNECTED,
        Cause.CONNECTED_TO_SELF: DisconnectReason.CONNECTED_TO_SELF,
        Cause.INVALID_IDENTITY: DisconnectReason.INVALID_IDENTITY,
        Cause.UNEXPECTED_IDENTITY: DisconnectReason.UNEXPECTED_IDENTITY,
        Cause.CONNECTION_LOST: DisconnectReason.NETWORK_ERROR,
        Cause.OPERATOR_REQUEST: DisconnectReason.REQUESTED,
        Cause.SHUTDOWN: DisconnectReason.CLIENT_QUITTING,
    }
)
"""Every cause has exactly one reason."""
