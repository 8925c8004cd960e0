"""What a `Connection` is made with: who we are, and the times it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey

from services.peer_gateway.core.devp2p import P2P_VERSION, Capability, Hello
from services.peer_gateway.core.ecies import node_id_of
from services.shared.ethwire.eth_messages import ETH_VERSIONS
from services.shared.ethwire.types import PeerId

ETH: Final = "eth"
"""Name of the one capability we have."""

MAX_CLIENT_NAME_BYTES: Final = 256
"""Leaves room for the rest of a Hello, which must fit a base message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionConfig:
    """Times of one connection; the defaults are geth's."""

    handshake_timeout_s: float = 5.0
    """For the encryption handshake and Hello together."""

    frame_timeout_s: float = 30.0
    """For each frame to arrive whole. Longer than the ping interval, so that a live peer has a Pong to send."""

    ping_interval_s: float = 15.0
    """How often we ask for a sign of life."""

    def __post_init__(self) -> None:
        if self.handshake_timeout_s <= 0:
            raise ValueError(f"handshake_timeout_s={self.handshake_timeout_s} is not positive")
        if not 0 < self.ping_interval_s < self.frame_timeout_s:
            raise ValueError(
                f"ping_interval_s={self.ping_interval_s} is not between 0 and frame_timeout_s={self.frame_timeout_s}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalNode:
    """What we are to every peer."""

    key: PrivateKey
    client_name: str
    listen_port: int
    """Where peers are told to dial us."""
    p2p_version: int = P2P_VERSION
    eth_versions: tuple[int, ...] = (62, 63)
    """Versions offered; each must be in `ETH_VERSIONS`."""

    def __post_init__(self) -> None:
        if not self.eth_versions or not set(self.eth_versions) <= ETH_VERSIONS.keys():
            raise ValueError(f"eth_versions={self.eth_versions} are not some of {sorted(ETH_VERSIONS)}")
        if len(self.client_name.encode()) > MAX_CLIENT_NAME_BYTES:
            raise ValueError(f"client_name is longer than {MAX_CLIENT_NAME_BYTES} bytes")

    @property
    def node_id(self) -> PeerId:
        return node_id_of(self.key.public_key)

    def capabilities(self) -> Mapping[Capability, int]:
        """What we offer, with the number of message codes each takes."""
        return {Capability(ETH, version): ETH_VERSIONS[version].length for version in self.eth_versions}

    def hello(self) -> Hello:
        return Hello(self.p2p_version, self.client_name, tuple(self.capabilities()), self.listen_port, self.node_id)
