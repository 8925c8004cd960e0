"""When which node is dialled: what geth's `p2p/dial.go` decides, and former peers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from services.peer_gateway.core.address_rules import is_lan
from services.peer_gateway.core.addresses import subnet_of
from services.peer_gateway.core.dial_plan import Dial, DialKind, DialLimits, DialPlan, DialResult
from services.peer_gateway.core.former_peers import FAILED_DIALS, FormerPeer, redial_wait_s
from services.peer_gateway.core.redial_history import Waits
from services.shared.chainspec.enode import Enode
from services.shared.chainspec.net_restrict import parse_host
from services.shared.chainspec.rendezvous import owner_of
from services.shared.ethwire.types import PeerId

REDIAL_SPREAD: Final = 0.02
"""A redial waits up to this share longer, by chance: nodes that lost each other at one moment do not dial
each other at one moment, and a throttle of the same length at the other side has surely passed."""

CANDIDATES: Final = 256
"""Nodes from discovery that wait for a dial: many times what is dialled before newer ones come. Of more, the oldest
is dropped, since the newest answered last."""

NEIGHBOURS: Final = 2
"""Candidates and dynamic peers of one neighbourhood (a /24; LAN and loopback exempt), as in a bucket of the node table:
one machine with many keys, which names them all in a lookup, would otherwise have every dial."""

HELD_S: Final = 600.0
"""How long a node that a sibling holds is passed over, unless a gateway comes or goes: each dial in vain is a whole
handshake, and the sibling may lose it meanwhile without our hearing."""

DIALS_KEPT_FREE: Final = 4
"""Dials at once that static nodes leave to others that are due: many dead static nodes do not stop all else."""


class DialSchedule:
    """Decides which nodes are due for a dial. A node is dialled by one rule at a time, in this order:

    - *static* nodes of the plan, again and again, whatever the quota;
    - *former* peers, outside the quota as they had a place before, but not beyond `most_peers`; each is given up
      once it joined, was refused for good, or failed `FAILED_DIALS` times;
    - *dynamic* candidates that rendezvous hashing gives to this gateway, as long as fewer than `dynamic_places`
      peers are outbound and not static. Former peers count here once they are dialled, unless they had connected
      by themselves: as those they count again.

    None is dialled that is connected, being dialled, in the redial history, one of our gateways, or outside of
    what `allows` lets through; a banned one only if it is static. The caller starts every dial that `due` returns
    and reports its end with `on_dial_ended`.
    """

    def __init__(
        self, limits: DialLimits, rng: random.Random, own_id: PeerId, allows: Callable[[str], bool] | None = None
    ) -> None:
        self._limits, self._rng, self._own_id = limits, rng, own_id
        self._allows = allows or (lambda _: True)
        self._static: dict[PeerId, Enode] = {}
        self._refused: set[Enode] = set()
        """Listed as static, and not allowed."""
        self._gateways = frozenset({own_id})
        self._places = 0
        self._candidates: dict[PeerId, Enode] = {}
        self._former: dict[PeerId, FormerPeer] = {}
        self._failures: dict[PeerId, int] = {}
        self._is_inbound: dict[PeerId, bool] = {}
        """Of each connected node: whether it takes an inbound place."""
        self._dialling: dict[PeerId, Dial] = {}
        self._dynamic: dict[PeerId, Enode] = {}
        """Candidates that are being dialled or connected."""
        self._history, self._bans, self._held = Waits(), Waits(), Waits()

    def set_plan(self, plan: DialPlan) -> list[Enode]:
        """Replace the plan. The result is what cannot be static: nodes that are new in it and not allowed."""
        before = self._static
        listed = {node.node_id: node for node in plan.static}
        before_refused, self._refused = self._refused, {n for n in listed.values() if not self._allows(n.host)}
        self._static = {node_id: node for node_id, node in listed.items() if node not in self._refused}
        gateways = plan.gateways | {self._own_id}
        if gateways != self._gateways:
            # What a gateway held that is gone is free, and nodes have other owners now.
            self._held = Waits()
        self._gateways, self._places = gateways, plan.dynamic_places
        for node_id, node in before.items():
            if self._static.get(node_id) != node:
                # Taken out or moved: the old address says nothing about the next attempt.
                self._history.remove(node_id)
        for waiting in (self._candidates, self._former):
            for node_id in [node_id for node_id in waiting if node_id in self._static or node_id in self._gateways]:
                del waiting[node_id]
        self._candidates = {node_id: node for node_id, node in self._candidates.items() if self._is_ours(node_id)}
        return [node for node in listed.values() if node in self._refused - before_refused]

    def add_former(self, peers: Iterable[FormerPeer], now: float, unix_s: float) -> None:
        """Have the peers of before the restart dialled again; static ones among them wait as long."""
        for peer in peers:
            node_id = peer.node.node_id
            wait_s = redial_wait_s(peer, unix_s, self._rng.uniform(0, REDIAL_SPREAD))
            if wait_s > 0:
                self._history.add(node_id, now + wait_s)
            known = (self._static, self._gateways, self._is_inbound)
            if peer.node.tcp_port and self._allows(peer.node.host) and not any(node_id in each for each in known):
                self._former[node_id] = peer

    def offer(self, nodes: Iterable[Enode], now: float) -> None:
        """Take candidates from discovery; those that will never do are passed over."""
        self._history.expire(now)
        self._held.expire(now)
        for node in nodes:
            node_id = node.node_id
            known = (self._static, self._former, self._history, self._held, self._gateways)
            if any(node_id in each for each in known) or not self._may_be_dialled(node_id, now):
                continue
            if not node.tcp_port or not self._allows(node.host) or not self._is_ours(node_id):
                continue
            self._candidates.pop(node_id, None)
            if self._is_crowded(node.host):
                continue
            self._candidates[node_id] = node
            if len(self._candidates) > CANDIDATES:
                del self._candidates[next(iter(self._candidates))]

    def wanted(self, now: float) -> int:
        """How many candidates more could be used now."""
        self._drop_unusable_candidates(now)
        return max(0, self._free_places() - len(self._candidates))

    def ban(self, node_id: PeerId, until: float) -> None:
        """Dial this node only if it is static, until then."""
        self._bans.add(node_id, until)
        self._candidates.pop(node_id, None)
        self._give_up(node_id)

    def on_connected(self, node_id: PeerId, *, inbound: bool) -> None:
        """A connection with this node exists, whoever dialled; `inbound`: it takes an inbound place."""
        self._is_inbound[node_id] = inbound
        self._candidates.pop(node_id, None)
        self._give_up(node_id)

    def on_disconnected(self, node_id: PeerId) -> None:
        self._is_inbound.pop(node_id, None)
        self._dynamic.pop(node_id, None)

    def on_dial_ended(self, node_id: PeerId, result: DialResult, now: float) -> bool:
        """A dial came to its end. True when the node is not worth remembering: the caller forgets it too."""
        self._dialling.pop(node_id, None)
        spread = self._rng.uniform(0, REDIAL_SPREAD)
        self._history.add(node_id, now + self._limits.redial_after_s * (1 + spread))
        if result is DialResult.JOINED:
            return False
        self._dynamic.pop(node_id, None)
        if result is DialResult.HELD and node_id not in self._static and node_id not in self._is_inbound:
            self._held.add(node_id, now + HELD_S)
            self._give_up(node_id)
            return True
        if node_id in self._former:
            self._failures[node_id] = self._failures.get(node_id, 0) + 1
        if result is not DialResult.REFUSED_FOR_GOOD and self._failures.get(node_id, 0) < FAILED_DIALS:
            return False
        self._give_up(node_id)
        return True

    def due(self, now: float) -> list[Dial]:
        """The dials to start now; each node counts as being dialled from here on."""
        self._history.expire(now)
        self._drop_unusable_candidates(now)
        free = max(0, self._limits.dials_at_once - len(self._dialling))
        static = self._ready(self._static, now)
        former = [
            Dial(node, DialKind.FORMER, self._former[node.node_id].was_inbound)
            for node in self._ready({node_id: peer.node for node_id, peer in self._former.items()}, now)
        ][: self._room_for_former()]
        others = len(former) + self._dynamic_dials(former)
        under_way = sum(1 for dial in self._dialling.values() if dial.kind is not DialKind.STATIC)
        kept_free = min(others, max(0, DIALS_KEPT_FREE - under_way), free)
        chosen = [Dial(node, DialKind.STATIC) for node in static[: free - kept_free]]
        chosen += former[: free - len(chosen)]
        count = min(free - len(chosen), self._dynamic_dials(chosen))
        for node_id in self._rng.sample(list(self._candidates), count):
            self._dynamic[node_id] = self._candidates.pop(node_id)
            chosen.append(Dial(self._dynamic[node_id], DialKind.DYNAMIC))
        self._dialling.update((dial.node.node_id, dial) for dial in chosen)
        return chosen

    def next_wakeup(self) -> float | None:
        """Earliest time `due` has a node, or None; a free place for a dial is told by `on_dial_ended`."""
        if len(self._dialling) >= self._limits.dials_at_once:
            return None
        busy = self._busy()
        waiting = [node_id for node_id in self._static if node_id not in busy]
        if self._room_for_former() > 0:
            waiting += [node_id for node_id in self._former if node_id not in busy]
        times = [self._history.until(node_id) for node_id in waiting]
        if self._candidates and self._free_places() > 0:
            times.append((self._history.next_end() or 0.0) if self._history.is_full else 0.0)
        return min(times, default=None)

    def _busy(self) -> set[PeerId]:
        return self._is_inbound.keys() | self._dialling.keys() | self._gateways

    def _ready(self, nodes: Mapping[PeerId, Enode], now: float) -> list[Enode]:
        """Those that nothing stands against, in a fair order."""
        busy = self._busy()
        ready = [node for node_id, node in nodes.items() if node_id not in busy and self._history.until(node_id) <= now]
        self._rng.shuffle(ready)
        return ready

    def _dynamic_dials(self, chosen: Iterable[Dial]) -> int:
        """Candidates that can be dialled beside these."""
        if self._history.is_full:
            return 0
        taken = sum(1 for dial in chosen if dial.is_of_quota)
        return min(len(self._candidates), max(0, self._free_places() - taken))

    def _free_places(self) -> int:
        outbound = sum(
            1 for node_id, inbound in self._is_inbound.items() if not inbound and node_id not in self._static
        )
        under_way = sum(
            1 for node_id, dial in self._dialling.items() if dial.is_of_quota and node_id not in self._is_inbound
        )
        return max(0, self._places - outbound - under_way)

    def _room_for_former(self) -> int:
        if self._limits.most_peers is None:
            return len(self._former)
        return max(0, self._limits.most_peers - len(self._is_inbound.keys() | self._dialling.keys()))

    def _is_ours(self, node_id: PeerId) -> bool:
        """Whether it is this gateway that dials the node: two would dial it twice."""
        return owner_of(node_id, self._gateways) == self._own_id

    def _is_crowded(self, host: str) -> bool:
        """Whether enough nodes of this neighbourhood wait or are connected."""
        if is_lan(host) or parse_host(host) is None:
            return False
        known = [*self._candidates.values(), *self._dynamic.values()]
        others = [node.host for node in known if parse_host(node.host) is not None]
        return sum(1 for other in others if subnet_of(other) == subnet_of(host)) >= NEIGHBOURS

    def _may_be_dialled(self, node_id: PeerId, now: float) -> bool:
        return node_id not in self._is_inbound and node_id not in self._dialling and self._bans.until(node_id) <= now

    def _drop_unusable_candidates(self, now: float) -> None:
        self._bans.expire(now)
        for node_id in [node_id for node_id in self._candidates if node_id in self._history]:
            del self._candidates[node_id]

    def _give_up(self, node_id: PeerId) -> None:
        self._former.pop(node_id, None)
        self._failures.pop(node_id, None)
