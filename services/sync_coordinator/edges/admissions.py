"""Answers gateways that ask whether a peer may go on to the eth handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from blocksync.v1 import gateway_link_pb2

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.peer_set import Admission, PeerSet
from services.sync_coordinator.core.places import Applicant
from services.sync_coordinator.core.reunion import Reunion
from services.sync_coordinator.edges.dial_plans import DialPlans
from services.sync_coordinator.edges.gateway_links import GatewayLink, GatewayLinks
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.metrics import CoordinatorMetrics


class Admissions:
    """After a restart of the coordinator all waits, for a moment, until every gateway is back: questions, and the
    dial plans too, since a node that is connected to an absent gateway would be dialled by another one."""

    def __init__(
        self,
        peers: PeerSet,
        plans: DialPlans,
        penalties: PenaltyDesk,
        links: GatewayLinks,
        metrics: CoordinatorMetrics,
    ) -> None:
        self._peers, self._plans, self._penalties = peers, plans, penalties
        self._links, self._metrics = links, metrics
        self._loop = asyncio.get_running_loop()
        self._reunion = Reunion()
        self._waiting: list[tuple[GatewayLink, gateway_link_pb2.AdmitPeer]] = []
        self._wakeup = Wakeup(self._answer_all)

    def close(self) -> None:
        self._wakeup.at(None)

    def attached(self, link: GatewayLink, gateway_node_ids: Iterable[bytes]) -> None:
        """A gateway came, with the node ids of all gateways as it knew them. Its peers are in the set by now."""
        self._reunion.attached(link.node_id, map(PeerId, gateway_node_ids), self._loop.time())
        self._plans.hold(held=self._reunion.waits_until(self._loop.time()) is not None)
        self._plans.refresh()
        self._answer_all()

    def ask(self, link: GatewayLink, question: gateway_link_pb2.AdmitPeer) -> None:
        self._waiting.append((link, question))
        self._answer_all()

    def _answer_all(self) -> None:
        until = self._reunion.waits_until(self._loop.time())
        if until is None:
            self._plans.hold(held=False)
            waiting, self._waiting = self._waiting, []
            # A gateway whose link was lost asks again.
            for link, question in waiting:
                if self._links.is_attached(link):
                    self._answer(link, question)
        self._wakeup.at(until)

    def _answer(self, link: GatewayLink, question: gateway_link_pb2.AdmitPeer) -> None:
        node_id = PeerId(question.node_id)
        applicant = Applicant(
            node_id=node_id,
            gateway_id=link.gateway_id,
            inbound=question.inbound or question.was_inbound,
            static=self._plans.is_static(node_id),
            trusted=question.trusted or self._plans.is_trusted(node_id),
            former=question.former,
        )
        is_kept = applicant.static or applicant.trusted or question.static
        ban_s = 0.0 if is_kept else self._penalties.ban_left_s(node_id)
        admission = Admission.BANNED if ban_s > 0 else self._peers.admit(applicant, self._loop.time())
        self._metrics.admissions.labels(admission.name.lower()).inc()
        self._links.send_verdict(link.gateway_id, question.ticket, admission, ban_s)
