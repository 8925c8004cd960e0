"""What a peer may do wrong before eth begins; each with the reason it is disconnected for."""

from __future__ import annotations

from services.peer_gateway.core.devp2p import Capability
from services.peer_gateway.core.phases import Phase
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId


class InvalidIdentity(PeerFault):
    """A Hello whose node id is none."""

    offence = Offence.INVALID_IDENTITY

    def __init__(self, node_id: bytes) -> None:
        super().__init__(f"Hello gives {len(node_id)} bytes {node_id[:8].hex()}… as its node id")
        self.node_id = node_id


class UnexpectedIdentity(PeerFault):
    """A Hello that names another node than the one whose key did the encryption handshake."""

    offence = Offence.UNEXPECTED_IDENTITY

    def __init__(self, expected: PeerId, actual: bytes) -> None:
        super().__init__(f"Hello is from node {actual[:8].hex()}…, the handshake from {expected[:8].hex()}…")
        self.expected, self.actual = expected, actual


class NoCommonCapability(PeerFault):
    """No version of eth that both sides speak."""

    offence = Offence.NO_COMMON_CAPABILITY

    def __init__(self, theirs: tuple[Capability, ...]) -> None:
        super().__init__(f"no version of eth in common: the peer offers {', '.join(map(str, theirs)) or 'nothing'}")
        self.theirs = theirs


class ReadTimedOut(PeerFault):
    """Nothing complete came in time: no handshake, no Hello, or later no frame."""

    def __init__(self, phase: Phase, timeout_s: float) -> None:
        super().__init__(f"nothing complete came within {timeout_s:g} s, {phase.words}")
        self.phase, self.timeout_s = phase, timeout_s
        self.offence = Offence.READ_TIMEOUT if phase is Phase.OPEN else Offence.HANDSHAKE_TIMEOUT
