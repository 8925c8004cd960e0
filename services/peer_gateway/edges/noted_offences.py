"""What a peer does that is not right and not worth its connection: counted each time, told once."""

from __future__ import annotations

from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.offences import CONSEQUENCES, Offence
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log, log_at


class NotedOffences:
    """One peer's. Of each offence the first only is logged: there may be a thousand a second."""

    def __init__(self, node_id: PeerId, metrics: GatewayMetrics) -> None:
        self._metrics = metrics
        self._told: set[Offence] = set()
        self._log = get_log("peer", node=node_id.hex()[:16])

    def add(self, offence: Offence, event: str, **fields: object) -> None:
        assert not CONSEQUENCES[offence].drops, f"{offence.name} ends the connection"
        self._metrics.offence(offence)
        if offence not in self._told:
            self._told.add(offence)
            log_at(self._log, CONSEQUENCES[offence].level.value, event, **fields)
