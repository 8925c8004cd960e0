"""What a `Connection` tells its edge."""

from __future__ import annotations

from dataclasses import dataclass

from services.peer_gateway.core.devp2p import Hello
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId


@dataclass(frozen=True, slots=True)
class HandshakeDone:
    """The link is encrypted, with a peer that says it owns `node_id`: its first frame will prove it."""

    node_id: PeerId


@dataclass(frozen=True, slots=True)
class Ready:
    """Hellos are exchanged and a version of eth is agreed on; whether to stay is the edge's decision."""

    hello: Hello
    eth_version: int


@dataclass(frozen=True, slots=True)
class EthMessage:
    """One message of eth: `code` counts from the capability's first, `payload` is not compressed."""

    code: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last event of a connection: send what is left, then close the socket.

    `reason` is None when the peer left without one that is known. Ours is always there, but can only
    reach the peer once the link is encrypted. `offence` is the rule it broke, or why else it is over.
    """

    reason: DisconnectReason | None
    by_us: bool
    detail: str
    offence: Offence


Event = HandshakeDone | Ready | EthMessage | Disconnected
