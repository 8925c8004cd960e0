"""Whose fault an error is, and what follows from it.

`PeerFault` and its children are the remote peer's doing: the connection ends with the
`disconnect_reason` of the class. Nothing here is ever raised for a mistake of our own.
"""

from __future__ import annotations

import enum


class DisconnectReason(enum.IntEnum):
    """Reasons of the devp2p Disconnect message (devp2p `rlpx.md`, section Disconnect 0x01)."""

    REQUESTED = 0x00
    NETWORK_ERROR = 0x01
    BREACH_OF_PROTOCOL = 0x02
    USELESS_PEER = 0x03
    TOO_MANY_PEERS = 0x04
    ALREADY_CONNECTED = 0x05
    INCOMPATIBLE_P2P_VERSION = 0x06
    INVALID_IDENTITY = 0x07
    CLIENT_QUITTING = 0x08
    UNEXPECTED_IDENTITY = 0x09
    CONNECTED_TO_SELF = 0x0A
    READ_TIMEOUT = 0x0B
    SUBPROTOCOL_ERROR = 0x10


class PeerFault(Exception):
    """The remote peer did something the protocol forbids."""

    disconnect_reason: DisconnectReason = DisconnectReason.BREACH_OF_PROTOCOL


class MalformedRlp(PeerFault):
    """Bytes that are not canonical RLP, or not RLP of the expected shape."""

    disconnect_reason = DisconnectReason.SUBPROTOCOL_ERROR


class MalformedMessage(PeerFault):
    """An eth message that does not decode to what its code promises."""

    disconnect_reason = DisconnectReason.SUBPROTOCOL_ERROR

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(f"{message}: {problem}")
        self.message, self.problem = message, problem
