"""What follows from what peers do, over all gateways: counts, bans, and the list of connections that ended."""

from __future__ import annotations

import asyncio
import dataclasses

from services.shared.ethwire.offences import CONSEQUENCES, NO_BAN_S, Offence
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log, log_at
from services.sync_coordinator.core.ban_list import BanList
from services.sync_coordinator.core.disconnect_log import DisconnectLog, EndedConnection
from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.metrics import CoordinatorMetrics


class PenaltyDesk:
    """Keeps bans and disconnects in memory: a restart of the coordinator forgets both.

    Bans are for nodes that are neither static nor trusted: the operator's word counts more. Whether a node is, the
    caller says.
    """

    def __init__(self, metrics: CoordinatorMetrics) -> None:
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._told: dict[PeerId, set[Offence]] = {}
        self._log = get_log("penalties")
        self.bans = BanList()
        self.disconnects = DisconnectLog()
        metrics.bans.set_function(self.banned)

    def banned(self) -> int:
        """Nodes that are banned now."""
        return self.bans.count(self._loop.time())

    def ban_left_s(self, node_id: PeerId) -> float:
        return self.bans.left_s(node_id, self._loop.time())

    def punish(self, peer: Peer, offence: Offence, explanation: str) -> None:
        """Count and tell what a peer is dropped for, and ban it at once: it may be gone before its gateway acts."""
        self._metrics.offences.labels(offence.name.lower()).inc()
        consequence, fields = CONSEQUENCES[offence], {"client": peer.client_name, "why": explanation}
        log_at(self._log, consequence.level.value, "peer dropped", peer=peer.node_id.hex()[:16], **fields)
        if not (peer.static or peer.trusted):
            self.bans.ban(peer.node_id, consequence.ban_s, self._loop.time())

    def note(self, node_id: PeerId, offence: Offence, count: int = 1) -> None:
        """Count what is not worth a peer's connection. Of each offence of a peer the first only is logged."""
        self._metrics.offences.labels(offence.name.lower()).inc(count)
        told = self._told.setdefault(node_id, set())
        if offence not in told:
            told.add(offence)
            what = offence.name.lower().replace("_", " ")
            log_at(self._log, CONSEQUENCES[offence].level.value, what, peer=node_id.hex()[:16])

    def forget(self, node_id: PeerId) -> None:
        """The peer is gone: should it come back, its offences are told again."""
        self._told.pop(node_id, None)

    def connection_ended(self, ended: EndedConnection, *, static: bool, trusted: bool) -> None:
        """A gateway reports an end; `static` and `trusted` are what the coordinator knows, besides the gateway."""
        ended = dataclasses.replace(ended, static=ended.static or static, trusted=ended.trusted or trusted)
        if ended.static or ended.trusted:
            ended = dataclasses.replace(ended, ban_s=NO_BAN_S)
        self.disconnects.add(ended)
        self.bans.ban(ended.node_id, ended.ban_s, self._loop.time())
