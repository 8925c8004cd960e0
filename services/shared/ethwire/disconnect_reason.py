"""The numbers of the devp2p Disconnect message (`rlpx.md`, section Disconnect 0x01)."""

from __future__ import annotations

import enum


class DisconnectReason(enum.IntEnum):
    """What a side says when it ends a connection."""

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

    @property
    def words(self) -> str:
        """The name, for people."""
        return self.name.lower().replace("_", " ")
