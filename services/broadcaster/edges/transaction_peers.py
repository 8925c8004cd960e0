"""What gateways say of peers, as far as transactions are concerned."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.transaction_relay import TransactionRelay
from services.broadcaster.edges.pool_desk import PoolDesk
from services.broadcaster.edges.transaction_intake import TransactionIntake
from services.shared.ethwire.types import PeerId, TransactionHash


class TransactionPeers:
    """Keeps the relay's peers those of the gateways, and owes newcomers what is pending."""

    def __init__(self, relay: TransactionRelay, desk: PoolDesk, intake: TransactionIntake) -> None:
        self._relay, self._desk, self._intake = relay, desk, intake

    def attach(self, gateway: GatewayId, peers: Iterable[PeerId], *, will_tell: bool) -> None:
        """A gateway's snapshot, and whether it will tell what its peers know: they are sent nothing before."""
        if will_tell:
            self._relay.attach_awaited(gateway, peers, asyncio.get_running_loop().time())
        else:
            self._relay.attach(gateway, peers, self._desk.pending())
            self._desk.somebody_is_owed()

    def know(
        self, gateway: GatewayId, row: Sequence[PeerId | None], known: Iterable[tuple[TransactionHash, int]]
    ) -> None:
        """A part of what a gateway's peers know."""
        self._relay.know(gateway, row, known)

    def all_known(self, gateway: GatewayId) -> None:
        """The gateway has told all that its peers know."""
        self._relay.all_known(gateway, self._desk.pending())
        self._desk.somebody_is_owed()

    def detach(self, gateway: GatewayId, *, all_was_sent: bool) -> None:
        """The stream ended. Where something still waited for it, nobody knows what its peers have."""
        now = asyncio.get_running_loop().time()
        for peer in self._relay.suspend(gateway, now) if all_was_sent else self._relay.detach(gateway):
            self._intake.forget(peer)

    def join(self, gateway: GatewayId, peer: PeerId) -> None:
        self._relay.join(gateway, peer, self._desk.pending())
        self._desk.somebody_is_owed()

    def leave(self, gateway: GatewayId, peer: PeerId) -> None:
        if self._relay.leave(gateway, peer):
            self._intake.forget(peer)

    def take(self, gateway: GatewayId, peer: PeerId, wires: Sequence[bytes]) -> None:
        self._intake.put(gateway, peer, wires)
