"""The eth handshake on top of an open connection, and the decoding of what follows (devp2p `caps/eth.md`)."""

from __future__ import annotations

from typing import Final

from services.peer_gateway.core.phases import NEXT_ETH_PHASE, EthPhase, EthReceived
from services.shared.ethwire.eth_messages import decode_message, encode_message
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from services.shared.ethwire.messages import EthMessage, MessageCode, Status
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash

STATUS_TIMEOUT_S: Final = 5.0
"""How long the other side's Status may take (geth `handshakeTimeout`)."""


class StatusRefused(PeerFault):
    """The peer's first message does not let us go on; the classes below say why."""


class NoStatusFirst(StatusRefused):
    """Another message came before Status."""

    offence = Offence.STATUS_MISSING

    def __init__(self, code: int) -> None:
        super().__init__(f"the first eth message has code 0x{code:02x}, it must be Status")
        self.code = code


class StatusTooLarge(StatusRefused):
    """The Status is over the limit of every eth message."""

    offence = Offence.ETH_MESSAGE_OVERSIZED

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a Status of {size_bytes} bytes is over the limit of {MAX_ETH_MESSAGE_BYTES}")
        self.size_bytes = size_bytes


class GenesisMismatch(StatusRefused):
    """The peer is on a chain with another first block."""

    offence = Offence.GENESIS_MISMATCH

    def __init__(self, theirs: BlockHash, ours: BlockHash) -> None:
        super().__init__(f"the peer's genesis is {theirs[:8].hex()}…, ours is {ours[:8].hex()}…")
        self.theirs, self.ours = theirs, ours


class NetworkIdMismatch(StatusRefused):
    """The peer is on another network."""

    offence = Offence.NETWORK_MISMATCH

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__(f"the peer's network id is {theirs}, ours is {ours}")
        self.theirs, self.ours = theirs, ours


class ProtocolVersionMismatch(StatusRefused):
    """The Status gives another version of eth than the Hellos agreed on."""

    offence = Offence.VERSION_MISMATCH

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__(f"the peer's Status is of eth/{theirs}, agreed is eth/{ours}")
        self.theirs, self.ours = theirs, ours


class SecondStatus(PeerFault):
    """A Status after the handshake."""

    offence = Offence.SECOND_STATUS

    def __init__(self) -> None:
        super().__init__("a second Status came")


class StatusTimedOut(PeerFault):
    """No Status came in time."""

    offence = Offence.STATUS_TIMEOUT

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no Status came within {timeout_s:g} s")
        self.timeout_s = timeout_s


class EthSession:
    """One peer's eth messages, from the Status handshake on.

    Made when the peer is admitted; the caller sends `opening` at once, then feeds `receive`. Faults are
    raised, and are the caller's to hand to `Connection.fail`.
    """

    def __init__(self, version: int, ours: Status, now: float, timeout_s: float = STATUS_TIMEOUT_S) -> None:
        self._version = version
        self._ours = ours._replace(protocol_version=version)
        self._phase = EthPhase.STATUS
        self._timeout_s = timeout_s
        self._deadline = now + timeout_s
        self.opening: tuple[int, bytes] = encode_message(version, self._ours)
        """Code and payload of our Status."""

    @property
    def phase(self) -> EthPhase:
        return self._phase

    @property
    def version(self) -> int:
        return self._version

    def receive(self, code: int, payload: bytes) -> EthMessage:
        """Decode the next message. The first is the peer's Status, accepted; no other is one.

        Raises PeerFault: a StatusRefused, SecondStatus, or what `decode_message` raises.
        """
        received = EthReceived.STATUS if code == MessageCode.STATUS else EthReceived.OTHER_MESSAGE
        following = NEXT_ETH_PHASE.get((self._phase, received))
        if following is None:
            raise NoStatusFirst(code) if self._phase is EthPhase.STATUS else SecondStatus()
        if received is EthReceived.STATUS and len(payload) > MAX_ETH_MESSAGE_BYTES:
            raise StatusTooLarge(len(payload))
        message = decode_message(self._version, code, payload)
        if isinstance(message, Status):
            self._check_status(message)
        self._phase = following
        return message

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work: the deadline of the handshake, None once it is done."""
        return self._deadline if self._phase is EthPhase.STATUS else None

    def on_wakeup(self, now: float) -> None:
        """Raises StatusTimedOut when the handshake took too long."""
        if self._phase is EthPhase.STATUS and now >= self._deadline:
            raise StatusTimedOut(self._timeout_s)

    def _check_status(self, theirs: Status) -> None:
        ours = self._ours
        if theirs.genesis_hash != ours.genesis_hash:
            raise GenesisMismatch(theirs.genesis_hash, ours.genesis_hash)
        if theirs.network_id != ours.network_id:
            raise NetworkIdMismatch(theirs.network_id, ours.network_id)
        if theirs.protocol_version != ours.protocol_version:
            raise ProtocolVersionMismatch(theirs.protocol_version, ours.protocol_version)
