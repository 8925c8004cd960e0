"""The two state machines of a connection, each as one table. What is not in a table is a fault.

Transport: the recipient starts in AUTH, the initiator in ACK; then both send Hello at once and wait for
the other's. From OPEN on, eth messages flow. Our own decisions (a disconnect, a time-out, a fault) lead
to CLOSED from everywhere and are not in the table.

Eth session, on top of OPEN: both send Status at once and wait for the other's, which comes first and
only once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence


class Phase(enum.Enum):
    """What the transport waits for."""

    AUTH = enum.auto()
    ACK = enum.auto()
    HELLO = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()

    @property
    def words(self) -> str:
        """When that is, for people."""
        return _PHASE_WORDS[self]


_PHASE_WORDS: Final[Mapping[Phase, str]] = MappingProxyType(
    {
        Phase.AUTH: "during the encryption handshake",
        Phase.ACK: "during the encryption handshake",
        Phase.HELLO: "before its Hello",
        Phase.OPEN: "after its Hello",
        Phase.CLOSED: "after the connection was closed",
    }
)


class Received(enum.Enum):
    """What the peer sent, as far as the transport cares."""

    AUTH = enum.auto()
    ACK = enum.auto()
    HELLO = enum.auto()
    DISCONNECT = enum.auto()
    PING = enum.auto()
    PONG = enum.auto()
    RESERVED_CODE = enum.auto()
    ETH_MESSAGE = enum.auto()
    UNKNOWN_CODE = enum.auto()


NEXT_PHASE: Final[Mapping[tuple[Phase, Received], Phase]] = MappingProxyType(
    {
        (Phase.AUTH, Received.AUTH): Phase.HELLO,
        (Phase.ACK, Received.ACK): Phase.HELLO,
        (Phase.HELLO, Received.HELLO): Phase.OPEN,
        (Phase.HELLO, Received.DISCONNECT): Phase.CLOSED,
        (Phase.OPEN, Received.DISCONNECT): Phase.CLOSED,
        (Phase.OPEN, Received.PING): Phase.OPEN,
        (Phase.OPEN, Received.PONG): Phase.OPEN,
        (Phase.OPEN, Received.RESERVED_CODE): Phase.OPEN,
        (Phase.OPEN, Received.ETH_MESSAGE): Phase.OPEN,
    }
)


class EthPhase(enum.Enum):
    """What the eth session waits for."""

    STATUS = enum.auto()
    READY = enum.auto()


class EthReceived(enum.Enum):
    STATUS = enum.auto()
    OTHER_MESSAGE = enum.auto()


NEXT_ETH_PHASE: Final[Mapping[tuple[EthPhase, EthReceived], EthPhase]] = MappingProxyType(
    {
        (EthPhase.STATUS, EthReceived.STATUS): EthPhase.READY,
        (EthPhase.READY, EthReceived.OTHER_MESSAGE): EthPhase.READY,
    }
)


class UnexpectedMessage(PeerFault):
    """A message that its phase does not allow, or whose code nothing was agreed on for."""

    offence = Offence.CODE_OUT_OF_RANGE

    def __init__(self, phase: Phase, received: Received, code: int | None = None) -> None:
        suffix = "" if code is None else f" (code 0x{code:02x})"
        super().__init__(f"{received.name}{suffix} is not allowed {phase.words}")
        self.phase, self.received, self.code = phase, received, code


def advance(phase: Phase, received: Received, code: int | None = None) -> Phase:
    """The phase after `received`. Raises UnexpectedMessage for a pair that is not in the table."""
    following = NEXT_PHASE.get((phase, received))
    if following is None:
        raise UnexpectedMessage(phase, received, code)
    return following
