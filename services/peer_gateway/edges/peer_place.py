"""A connection's place: the claim of its node id in this gateway, and the one the coordinator gives."""

from __future__ import annotations

import asyncio

from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.edges.claims import Claimant
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.refusals import Refused, refused
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import reason_to_proto


class PeerPlace:
    """Taken in the order `claim`, `get_admitted`, and given back once, whatever was taken.

    The coordinator counts the place from the question for it until PeerLeft.
    """

    def __init__(self, parts: Parts, *, inbound: bool) -> None:
        self._parts, self._inbound = parts, inbound
        self.was_inbound = False
        """Dialled as a former peer that had connected by itself."""
        self._claimed: PeerId | None = None
        self._is_counted = False
        self._admitted_in = 0
        """The session of the link that the place was given in: the next begins without it."""

    @property
    def is_current(self) -> bool:
        """Whether the coordinator that gave the place still knows of it."""
        return self._parts.coordinator.is_current(self._admitted_in)

    async def claim(self, node_id: PeerId, connection: Claimant) -> None:
        """Raises Refused for a node that no connection is wanted with, or that has one."""
        standing = self._parts.standing
        if node_id == standing.own_id or node_id in standing.siblings:
            raise refused(wire.ADMISSION_SELF)
        if not await self._parts.roster.claims.take(node_id, connection):
            raise refused(wire.ADMISSION_ALREADY_CONNECTED)
        self._claimed = node_id
        most = self._parts.config.maxpeers
        if most is not None and len(self._parts.roster) >= most and not standing.is_trusted(node_id):
            raise refused(wire.ADMISSION_TOO_MANY_PEERS)

    async def get_admitted(self, remote_address: tuple[str, int]) -> None:
        """Raises Refused where the coordinator gives no place, or is away."""
        assert self._claimed is not None, "a place is for a claimed node"
        node_id, standing = self._claimed, self._parts.standing
        host, port = remote_address
        former = None if self._inbound else standing.former.get(node_id)
        self.was_inbound = former is not None and former.was_inbound
        request = wire.AdmitPeer(
            node_id=node_id,
            inbound=self._inbound,
            static=node_id in standing.static,
            trusted=standing.is_trusted(node_id),
            former=former is not None,
            was_inbound=self.was_inbound,
            remote_address=f"{host}:{port}",
        )
        # From the question on: an answer that comes when the peer is gone must not leave a place taken.
        self._is_counted = True
        try:
            async with asyncio.timeout(self._parts.config.handshake_timeout):
                verdict = await self._parts.coordinator.admit(request)
        except TimeoutError:
            # The peer will come again later, as it does where all places are taken.
            raise Refused(Offence.COORDINATOR_AWAY, "the coordinator is away and gives no places") from None
        self._admitted_in = self._parts.coordinator.session
        if verdict.admission != wire.ADMISSION_ADMITTED:
            self._is_counted = False
            if verdict.admission == wire.ADMISSION_BANNED:
                self._parts.roster.ban(node_id, verdict.ban_seconds)
            raise refused(verdict.admission)

    def give_back(self, end: Disconnected) -> None:
        """The connection is over, for the reason in `end`."""
        if self._claimed is None:
            return
        self._parts.roster.claims.release(self._claimed)
        if self._is_counted:
            reason = DisconnectReason.NETWORK_ERROR if end.reason is None else end.reason
            left = wire.PeerLeft(
                node_id=self._claimed, reason=reason_to_proto(reason), by_us=end.by_us, explanation=end.detail
            )
            self._parts.coordinator.tell(wire.ControlRequest(peer_left=left))
