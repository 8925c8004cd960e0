"""Who has proven that it can be reached where it says (devp2p `discv4.md`, section Endpoint Proof)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from services.peer_gateway.core.addresses import kind_of
from services.shared.ethwire.types import PeerId

PROOF_LIFETIME_S: Final = 24 * 3600.0
"""How long a Pong proves an endpoint (geth `bondExpiration`)."""

HOSTS_KEPT: Final = 5_000
"""Hosts whose proofs are remembered, a few MB; more push the oldest out, which only costs a Ping."""

NODES_PER_HOST: Final = 16
"""Proofs of one host: keys are free, so without it one machine could push everybody else's proofs out."""

NODES_PER_LAN_HOST: Final = 1024
"""The same for loopback and LAN, where whole networks run on one machine."""


class EndpointProofs:
    """Pongs that answered our Pings, and Pings that we answered, each for a node at an IP address.

    The first prove the other's endpoint to us, the second ours to it. A proof for one host says nothing of another.
    """

    def __init__(self) -> None:
        self._theirs, self._ours = _Proofs(), _Proofs()

    def __len__(self) -> int:
        """How many endpoints are proven to us."""
        return len(self._theirs)

    def on_pong(self, node_id: PeerId, host: str, now: float) -> None:
        """The node has answered a Ping that we sent to this host."""
        self._theirs.remember(node_id, host, now)

    def on_ping(self, node_id: PeerId, host: str, now: float) -> None:
        """We have answered a Ping of the node."""
        self._ours.remember(node_id, host, now)

    def proven_at(self, node_id: PeerId, host: str) -> float | None:
        """When the node last answered a Ping of ours."""
        return self._theirs.time_of(node_id, host)

    def is_proven(self, node_id: PeerId, host: str, now: float) -> bool:
        """Whether the node may be answered with more than it sent."""
        return _is_young(self._theirs.time_of(node_id, host), now)

    def believes_us(self, node_id: PeerId, host: str, now: float) -> bool:
        """Whether the node should answer our questions."""
        return _is_young(self._ours.time_of(node_id, host), now)

    def doubt(self, node_id: PeerId, host: str) -> None:
        """The node left a question unanswered: it may have forgotten our endpoint."""
        self._ours.forget(node_id, host)

    def forget(self, node_id: PeerId, host: str) -> None:
        """The node no longer answers: a new proof is needed, of both sides."""
        self._theirs.forget(node_id, host)
        self._ours.forget(node_id, host)


class _Proofs:
    """Times by host and node, the hosts and the nodes of each in the order they were last heard of."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, OrderedDict[PeerId, float]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def remember(self, node_id: PeerId, host: str, now: float) -> None:
        nodes = self._hosts.setdefault(host, OrderedDict())
        self._hosts.move_to_end(host)
        self._count += node_id not in nodes
        nodes[node_id] = now
        nodes.move_to_end(node_id)
        if len(nodes) > (NODES_PER_LAN_HOST if kind_of(host).is_lan else NODES_PER_HOST):
            nodes.popitem(last=False)
            self._count -= 1
        if len(self._hosts) > HOSTS_KEPT:
            _, forgotten = self._hosts.popitem(last=False)
            self._count -= len(forgotten)

    def time_of(self, node_id: PeerId, host: str) -> float | None:
        nodes = self._hosts.get(host)
        return nodes.get(node_id) if nodes is not None else None

    def forget(self, node_id: PeerId, host: str) -> None:
        nodes = self._hosts.get(host)
        if nodes is not None and nodes.pop(node_id, None) is not None:
            self._count -= 1
            if not nodes:
                del self._hosts[host]


def _is_young(since: float | None, now: float) -> bool:
    return since is not None and now - since < PROOF_LIFETIME_S
