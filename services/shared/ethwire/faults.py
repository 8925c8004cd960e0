"""Whose fault an error is, and what follows from it.

`PeerFault` and its children are the remote peer's doing: the connection ends, with the consequence that
`offences` has for the `offence` of the class. Nothing here is ever raised for a mistake of our own.
"""

from __future__ import annotations

from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence, reason_told

__all__ = ["DisconnectReason", "MalformedMessage", "MalformedRlp", "PeerFault"]


class PeerFault(Exception):
    """The remote peer did something the protocol forbids. Each class, or instance, says which offence that is."""

    offence: Offence

    @property
    def disconnect_reason(self) -> DisconnectReason:
        """What the peer is told."""
        return reason_told(self.offence)


class MalformedRlp(PeerFault):
    """Bytes that are not canonical RLP, or not RLP of the expected shape."""

    offence = Offence.ETH_MESSAGE_UNDECODABLE


class MalformedMessage(PeerFault):
    """An eth message that does not decode to what its code promises."""

    offence = Offence.ETH_MESSAGE_UNDECODABLE

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(f"{message}: {problem}")
        self.message, self.problem = message, problem
