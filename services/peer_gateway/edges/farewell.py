"""What is told of a connection that is over."""

from __future__ import annotations

import time
from typing import Final

from blocksync.v1 import common_pb2

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.shown_text import shown
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.offences import CONSEQUENCES, NO_BAN_S
from services.shared.rpc.convert import offence_to_proto, reason_to_proto

SHOWN_NAME_CHARACTERS: Final = 80
"""As much of a peer's client name as we repeat; the peer chose it."""

SHOWN_WHY_CHARACTERS: Final = 500
"""As much of an explanation as is kept; it may repeat what the peer sent."""


class Farewell:
    """Collects over a connection's life what its end is reported with."""

    def __init__(self, now: float, *, inbound: bool) -> None:
        self._since = now
        self.disconnect = common_pb2.Disconnect(inbound=inbound)
        """Filled in as it becomes known: node id, address, static, trusted, version."""
        self.has_shown_its_key = False

    def finish(self, end: Disconnected, stage: Stage, client_name: str, now: float) -> common_pb2.Disconnect:
        """The report. A ban is for a node that we sent away, and that surely is the one it says: whoever tells us
        a wrong address for somebody's node id must not have that node banned."""
        report = self.disconnect
        report.client_name = shown(client_name, SHOWN_NAME_CHARACTERS)
        report.stage = common_pb2.ConnectionStage.ValueType(stage)
        if end.reason is not None:
            report.reason = reason_to_proto(end.reason)
        report.by_us, report.offence = end.by_us, offence_to_proto(end.offence)
        report.explanation = shown(end.detail, SHOWN_WHY_CHARACTERS)
        report.connected_seconds = now - self._since
        may_be_banned = end.by_us and self.has_shown_its_key and not (report.static or report.trusted)
        report.ban_seconds = CONSEQUENCES[end.offence].ban_s if may_be_banned else NO_BAN_S
        report.unix_time_ms = time.time_ns() // 1_000_000
        return report
