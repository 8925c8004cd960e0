"""Which gateway has which peer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

from services.shared.ethwire.types import PeerId

GatewayId = NewType("GatewayId", str)
"""The name a gateway gives itself."""


class AttachedPeers:
    """A peer belongs to one gateway: the last that said it joined. What another says of it later is out of date."""

    def __init__(self) -> None:
        self._gateway_of: dict[PeerId, GatewayId] = {}
        self._peers_of: dict[GatewayId, set[PeerId]] = {}

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._gateway_of

    def __len__(self) -> int:
        return len(self._gateway_of)

    @property
    def gateways(self) -> int:
        return len(self._peers_of)

    def attach(self, gateway: GatewayId) -> None:
        """Begin with no peers. Caller's duty: it is not attached."""
        self._peers_of[gateway] = set()

    def has(self, gateway: GatewayId, peer: PeerId) -> bool:
        return self._gateway_of.get(peer) == gateway

    def join(self, gateway: GatewayId, peer: PeerId) -> None:
        before = self._gateway_of.get(peer)
        if before is not None:
            self._peers_of[before].discard(peer)
        self._peers_of.setdefault(gateway, set()).add(peer)
        self._gateway_of[peer] = gateway

    def leave(self, gateway: GatewayId, peer: PeerId) -> bool:
        """False when the gateway does not have it."""
        if not self.has(gateway, peer):
            return False
        del self._gateway_of[peer]
        self._peers_of[gateway].remove(peer)
        return True

    def detach(self, gateway: GatewayId) -> set[PeerId]:
        """Forget a gateway; returns the peers that go with it."""
        peers = self._peers_of.pop(gateway, set())
        for peer in peers:
            del self._gateway_of[peer]
        return peers

    def by_gateway(self, peers: Iterable[PeerId]) -> dict[GatewayId, list[PeerId]]:
        """The same peers, in the same order, without those that are not attached."""
        parts: dict[GatewayId, list[PeerId]] = {}
        for peer in peers:
            gateway = self._gateway_of.get(peer)
            if gateway is not None:
                parts.setdefault(gateway, []).append(peer)
        return parts
