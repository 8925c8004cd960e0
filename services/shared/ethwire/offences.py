"""From offence to consequence: one table, for the wire and for the chain, read by every service.

The reasons are those that geth and the devp2p specification give. What is not in the table cannot happen to a
peer: whoever ends a connection, or counts something against a peer, names an `Offence`.

A ban keeps a node id from being admitted or dialled for a while; it is never more than the time after which the
same peer may have become another: a new version, another chain, an empty place. Static and trusted nodes are
never banned, because the operator's word counts more than our judgement; they are dropped like all others.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from services.shared.ethwire.disconnect_reason import DisconnectReason


@enum.unique
class Offence(enum.IntEnum):
    """Every rule a peer can break, and every other cause for which a connection ends.

    The numbers are those of the contract: one is never given to another offence.
    """

    # What the base protocol forbids (devp2p `rlpx.md`).
    HANDSHAKE_UNDECODABLE = 1
    HANDSHAKE_TIMEOUT = 2
    FRAME_CORRUPT = 3
    FRAME_OVERSIZED = 4
    COMPRESSION_CORRUPT = 5
    BASE_MESSAGE_UNDECODABLE = 6
    BASE_MESSAGE_OVERSIZED = 7
    CODE_OUT_OF_RANGE = 8
    INVALID_IDENTITY = 9
    UNEXPECTED_IDENTITY = 10
    NO_COMMON_CAPABILITY = 11
    READ_TIMEOUT = 12
    WRITE_TIMEOUT = 13

    # What eth forbids (devp2p `caps/eth.md`).
    STATUS_TIMEOUT = 20
    STATUS_MISSING = 21
    GENESIS_MISMATCH = 22
    NETWORK_MISMATCH = 23
    VERSION_MISMATCH = 24
    SECOND_STATUS = 25
    ETH_MESSAGE_UNDECODABLE = 26
    ETH_MESSAGE_OVERSIZED = 27
    ETH_CODE_UNKNOWN = 28
    REPLY_MISMATCH = 29
    BLOCK_BODY_MISMATCH = 30
    STOPPED_ANSWERING = 31

    # What the downloader, the fetcher and the challenges find.
    DAO_TIMEOUT = 40
    DAO_MISMATCH = 41
    WHITELIST_MISMATCH = 42
    SYNC_TIMEOUT = 43
    BAD_HEAD = 44
    STALLING = 45
    EMPTY_HEADER_SET = 46
    BODIES_UNAVAILABLE = 47
    PROTOCOL_TOO_OLD = 48
    INVALID_ANCESTOR = 49
    INVALID_CHAIN = 50
    INVALID_BODY = 51
    INVALID_BLOCK = 52
    FALSE_ANNOUNCE = 53
    INVALID_RECEIPTS = 54
    INVALID_STATE_ENTRY = 55

    # Nobody's fault, or our own decision.
    TOO_MANY_PEERS = 60
    ALREADY_CONNECTED = 61
    CONNECTED_TO_SELF = 62
    BANNED = 63
    COORDINATOR_AWAY = 64
    OPERATOR_REQUEST = 65
    SHUTDOWN = 66
    CONNECTION_LOST = 67
    LEFT = 68
    OUR_DEFECT = 69

    # Only counted.
    UNASKED_REPLY = 80
    STALE_REPLY = 81
    ANNOUNCES_BEYOND_LIMIT = 82
    BLOCKS_BEYOND_LIMIT = 83
    QUESTIONS_BEYOND_LIMIT = 84
    INVALID_TRANSACTION = 85
    TRANSACTIONS_BEYOND_LIMIT = 86


class LogLevel(enum.Enum):
    """How loud one line about an offence is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


class Consequence(NamedTuple):
    """What follows from an offence, besides that it is counted."""

    reason: DisconnectReason | None
    """What the peer is told, or None where nothing can or need be said."""
    level: LogLevel
    drops: bool
    """Whether the connection ends for it."""
    ban_s: float
    """How long the node id is kept away, in seconds; 0 is not at all."""


OTHER_CHAIN_BAN_S: Final = 3600.0
"""A node of another chain will still be one in a minute, and every try costs both sides two handshakes."""

BAD_CHAIN_BAN_S: Final = 3600.0
"""Who serves an invalid chain follows it or made it: each try costs a sync that fails."""

BREACH_BAN_S: Final = 600.0
"""A client that breaks the protocol does so again until somebody has restarted or replaced it."""

USELESS_BAN_S: Final = 60.0
"""A peer that was slow or lacked something may be well again soon; twice the time after which we would redial."""

NO_BAN_S: Final = 0.0


def _drop(reason: DisconnectReason, ban_s: float, level: LogLevel = LogLevel.INFO) -> Consequence:
    return Consequence(reason, level, drops=True, ban_s=ban_s)


def _refuse(reason: DisconnectReason) -> Consequence:
    """Daily life: where all places are taken, strangers come and are turned away all the time."""
    return Consequence(reason, LogLevel.DEBUG, drops=True, ban_s=NO_BAN_S)


def _over(level: LogLevel) -> Consequence:
    """The connection is over already: there is nobody to tell."""
    return Consequence(None, level, drops=True, ban_s=NO_BAN_S)


_COUNTED: Final = Consequence(None, LogLevel.INFO, drops=False, ban_s=NO_BAN_S)
"""Not forbidden in so many words, or not surely the peer's doing: what came is dropped, the peer is not."""

_BREACH: Final = _drop(DisconnectReason.BREACH_OF_PROTOCOL, BREACH_BAN_S)
_ETH_ERROR: Final = _drop(DisconnectReason.SUBPROTOCOL_ERROR, BREACH_BAN_S)
_OTHER_CHAIN: Final = _drop(DisconnectReason.SUBPROTOCOL_ERROR, OTHER_CHAIN_BAN_S)
_USELESS: Final = _drop(DisconnectReason.USELESS_PEER, USELESS_BAN_S, LogLevel.WARNING)
_BAD_CHAIN: Final = _drop(DisconnectReason.USELESS_PEER, BAD_CHAIN_BAN_S, LogLevel.WARNING)
_SILENT: Final = _drop(DisconnectReason.READ_TIMEOUT, USELESS_BAN_S)

CONSEQUENCES: Final[Mapping[Offence, Consequence]] = MappingProxyType(
    {
        Offence.HANDSHAKE_UNDECODABLE: _BREACH,
        Offence.HANDSHAKE_TIMEOUT: _SILENT,
        Offence.FRAME_CORRUPT: _BREACH,
        Offence.FRAME_OVERSIZED: _BREACH,
        Offence.COMPRESSION_CORRUPT: _BREACH,
        Offence.BASE_MESSAGE_UNDECODABLE: _BREACH,
        Offence.BASE_MESSAGE_OVERSIZED: _BREACH,
        Offence.CODE_OUT_OF_RANGE: _BREACH,
        Offence.INVALID_IDENTITY: _drop(DisconnectReason.INVALID_IDENTITY, BREACH_BAN_S),
        Offence.UNEXPECTED_IDENTITY: _drop(DisconnectReason.UNEXPECTED_IDENTITY, BREACH_BAN_S),
        Offence.NO_COMMON_CAPABILITY: _drop(DisconnectReason.USELESS_PEER, OTHER_CHAIN_BAN_S),
        Offence.READ_TIMEOUT: _SILENT,
        Offence.WRITE_TIMEOUT: _drop(DisconnectReason.NETWORK_ERROR, USELESS_BAN_S),
        Offence.STATUS_TIMEOUT: _SILENT,
        Offence.STATUS_MISSING: _ETH_ERROR,
        Offence.GENESIS_MISMATCH: _OTHER_CHAIN,
        Offence.NETWORK_MISMATCH: _OTHER_CHAIN,
        Offence.VERSION_MISMATCH: _ETH_ERROR,
        Offence.SECOND_STATUS: _ETH_ERROR,
        Offence.ETH_MESSAGE_UNDECODABLE: _ETH_ERROR,
        Offence.ETH_MESSAGE_OVERSIZED: _ETH_ERROR,
        Offence.ETH_CODE_UNKNOWN: _ETH_ERROR,
        Offence.REPLY_MISMATCH: _drop(DisconnectReason.USELESS_PEER, BREACH_BAN_S),
        Offence.BLOCK_BODY_MISMATCH: _drop(DisconnectReason.SUBPROTOCOL_ERROR, BAD_CHAIN_BAN_S, LogLevel.WARNING),
        Offence.STOPPED_ANSWERING: _USELESS,
        Offence.DAO_TIMEOUT: _USELESS,
        Offence.DAO_MISMATCH: _drop(DisconnectReason.SUBPROTOCOL_ERROR, OTHER_CHAIN_BAN_S, LogLevel.WARNING),
        Offence.WHITELIST_MISMATCH: _drop(DisconnectReason.SUBPROTOCOL_ERROR, OTHER_CHAIN_BAN_S, LogLevel.WARNING),
        Offence.SYNC_TIMEOUT: _USELESS,
        Offence.BAD_HEAD: _USELESS,
        Offence.STALLING: _USELESS,
        Offence.EMPTY_HEADER_SET: _USELESS,
        Offence.BODIES_UNAVAILABLE: _USELESS,
        Offence.PROTOCOL_TOO_OLD: _USELESS,
        Offence.INVALID_ANCESTOR: _BAD_CHAIN,
        Offence.INVALID_CHAIN: _BAD_CHAIN,
        Offence.INVALID_BODY: _BAD_CHAIN,
        Offence.INVALID_BLOCK: _BAD_CHAIN,
        Offence.FALSE_ANNOUNCE: _BAD_CHAIN,
        Offence.INVALID_RECEIPTS: _BAD_CHAIN,
        Offence.INVALID_STATE_ENTRY: _BAD_CHAIN,
        Offence.TOO_MANY_PEERS: _refuse(DisconnectReason.TOO_MANY_PEERS),
        Offence.ALREADY_CONNECTED: _refuse(DisconnectReason.ALREADY_CONNECTED),
        Offence.CONNECTED_TO_SELF: _drop(DisconnectReason.CONNECTED_TO_SELF, NO_BAN_S),
        Offence.BANNED: _refuse(DisconnectReason.USELESS_PEER),
        Offence.COORDINATOR_AWAY: _refuse(DisconnectReason.TOO_MANY_PEERS),
        Offence.OPERATOR_REQUEST: _drop(DisconnectReason.REQUESTED, NO_BAN_S),
        Offence.SHUTDOWN: _drop(DisconnectReason.CLIENT_QUITTING, NO_BAN_S),
        Offence.CONNECTION_LOST: _over(LogLevel.INFO),
        Offence.LEFT: _over(LogLevel.INFO),
        Offence.OUR_DEFECT: _drop(DisconnectReason.SUBPROTOCOL_ERROR, NO_BAN_S, LogLevel.WARNING),
        Offence.UNASKED_REPLY: _COUNTED,
        Offence.STALE_REPLY: _COUNTED._replace(level=LogLevel.DEBUG),
        Offence.ANNOUNCES_BEYOND_LIMIT: _COUNTED,
        Offence.BLOCKS_BEYOND_LIMIT: _COUNTED,
        Offence.QUESTIONS_BEYOND_LIMIT: _COUNTED._replace(level=LogLevel.DEBUG),
        # Signed for another chain, or under rules of another time: known clients pass on what they were sent.
        Offence.INVALID_TRANSACTION: _COUNTED,
        Offence.TRANSACTIONS_BEYOND_LIMIT: _COUNTED,
    }
)
"""Every offence has exactly one row."""


def reason_told(offence: Offence) -> DisconnectReason:
    """What a peer is told that we end the connection with. Caller's duty: an offence that ends one."""
    reason = CONSEQUENCES[offence].reason
    assert reason is not None, f"{offence.name} ends no connection of ours"
    return reason
