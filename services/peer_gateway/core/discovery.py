"""Discovery v4 (devp2p `discv4.md`; numbers of geth's `p2p/discover`): finds nodes, and is found.

actions = discovery.receive(datagram, address, now)
actions = discovery.on_wakeup(now)      # at `next_wakeup()`, or a little later
actions = discovery.look_up(target, now)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey

from services.peer_gateway.core.addresses import UdpAddress, kind_of, may_tell_of
from services.peer_gateway.core.arrival_gate import ArrivalGate
from services.peer_gateway.core.discovery_actions import (
    Action,
    Dropped,
    RecordFound,
    SeedsWanted,
    StoreNode,
)
from services.peer_gateway.core.discv4_faults import DatagramFault, TooManyDatagrams
from services.peer_gateway.core.discv4_types import Endpoint
from services.peer_gateway.core.node_table import BUCKET_SIZE, NodeTable
from services.peer_gateway.core.own_endpoint import NOTHING_ADVERTISED, Advertised, OwnEndpoint
from services.peer_gateway.core.packet_exchange import (
    Asked,
    Event,
    Named,
    PacketExchange,
    Pinged,
    Proven,
    Recorded,
    Silent,
)
from services.peer_gateway.core.pending_replies import Awaited
from services.peer_gateway.core.revalidation import Revalidation
from services.peer_gateway.core.searches import Searches
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

REFRESH_INTERVAL_S: Final = 30 * 60.0
"""How often we look for ourselves and for random targets, so that no bucket grows old."""

EMPTY_REFRESH_INTERVAL_S: Final = 5.0
"""The same while nobody is known at all: boot nodes may come later than we."""

SEED_PATIENCE_S: Final = 1.5
"""How long seeds have to answer, and to ask us in turn, before a refresh looks around: a few reply time-outs."""

RANDOM_LOOKUPS_PER_REFRESH: Final = 3

STORE_INTERVAL_S: Final = 30.0
"""How often nodes are written down."""

INTRODUCTIONS_AT_ONCE: Final = 48
"""Replies waited for above which nodes that others name are not sent a Ping just to get to know them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscoverySettings:
    """What a node is told at its start."""

    boot_nodes: tuple[Enode, ...] = ()
    """Where to begin; hosts are IP addresses."""

    allowed: Callable[[str], bool] = lambda host: True  # noqa: ARG005
    """Which hosts we talk to at all."""

    first_record_seq: int = 1
    """See `OwnEndpoint`."""

    advertised: Advertised = NOTHING_ADVERTISED
    """Where the operator says that we are reached."""

    unix_offset_s: float = 0.0
    """Unix time minus `now`."""

    store_after_s: float = 300.0
    """How long a node must have been in the table before it is written down (geth `seedMinTableTime`)."""


class Discovery:
    """Keeps the table full of live nodes, answers those that ask, and looks up targets, one at a time.

    Pure: the edge carries out the returned actions, and calls `on_wakeup` at `next_wakeup`.
    """

    def __init__(
        self, key: PrivateKey, bound: Endpoint, rng: random.Random, now: float, settings: DiscoverySettings
    ) -> None:
        """`bound` is where we listen, as far as we know."""
        self.own = OwnEndpoint(key, bound, settings.first_record_seq, settings.advertised)
        """Where we are reached, and our record. For reading only."""
        self._settings, self._rng = settings, rng
        self._gate = ArrivalGate()
        self._exchange = PacketExchange(key, self.own, settings.allowed, settings.unix_offset_s)
        self.table = NodeTable(self._exchange.own_id, rng)
        """Who is known. For reading only."""
        self._searches = Searches(self._exchange, self.table)
        self._revalidation = Revalidation(self._exchange, self.table, rng, now)
        self._has_looked_around, self._is_seeded = False, not settings.boot_nodes
        self._uninvited: set[PeerId] = set()
        self._stored: dict[PeerId, float] = {}
        self._refresh_due, self._look_around_due = now, float("inf")
        self._store_due = now + STORE_INTERVAL_S

    @property
    def bond_count(self) -> int:
        """How many endpoints are proven to us."""
        return len(self._exchange.proofs)

    @property
    def pending_count(self) -> int:
        """How many replies we wait for."""
        return len(self._exchange.pending)

    def set_unix_offset(self, offset_s: float) -> None:
        """The wall clock was set; nothing that runs is disturbed."""
        self._exchange.unix_offset_s = offset_s

    def receive(self, datagram: bytes, address: UdpAddress, now: float) -> list[Action]:
        """A datagram has come from `address`."""
        try:
            if not self._gate.admits(address.host, now, is_asked=self._exchange.pending.is_asked(address.host)):
                raise TooManyDatagrams(address.host)
            event = self._exchange.receive(datagram, address, now)
            if event is not None:
                self._on_event(event, now)
        except DatagramFault as fault:
            self._exchange.actions.append(Dropped(fault.cause))
        return self._take_actions(now)

    def on_wakeup(self, now: float) -> list[Action]:
        """Give up on what is late, and begin what is due."""
        for event in self._exchange.on_wakeup(now):
            self._on_event(event, now)
        if now >= self._refresh_due:
            self._refresh(now)
        if now >= self._look_around_due:
            self._look_around(now)
        if now >= self._revalidation.due:
            self._revalidation.begin(now)
        if now >= self._store_due:
            self._store(now)
        return self._take_actions(now)

    def next_wakeup(self) -> float:
        """When `on_wakeup` has something to do."""
        dues = self._refresh_due, self._look_around_due, self._revalidation.due, self._store_due
        pending = self._exchange.pending.next_due()
        return min(dues) if pending is None else min(*dues, pending)

    def seed(self, nodes: Iterable[Enode], now: float) -> list[Action]:
        """These nodes were good once: see whether they still are. The answer to `SeedsWanted`."""
        self._invite(nodes, now)
        return self._take_actions(now)

    def look_up(self, target: PeerId, now: float) -> list[Action]:
        """Search for the nodes nearest to `target`; `NodesFound` with that target follows."""
        self._searches.begin(target)
        return self._take_actions(now)

    def request_record(self, node: Enode, now: float) -> list[Action]:
        """Ask a node for its record; `RecordFound` follows, or nothing. It answers those it has a proof of."""
        self._exchange.request_record(node, now)
        return self._take_actions(now)

    def _on_event(self, event: Event, now: float) -> None:
        match event:
            case Pinged(node):
                self._searches.on_pinged(node, now)
                self._on_pinged(node, now)
            case Proven(node):
                self._revalidation.on_proven(node, now)
                self._on_proven(node, now)
                self._searches.on_proven(node, now)
            case Named(node, nodes):
                self._searches.on_named(node, nodes)
                self._welcome(node, now)
                self._introduce(nodes, now)
            case Silent(kind, node):
                self._searches.on_silent(kind, node, now)
                if kind is Awaited.PONG:
                    self._uninvited.discard(node.node_id)
                    self._revalidation.on_silent(node, now)
            case Asked(address, target):
                near = self.table.closest(target, BUCKET_SIZE, lambda node: may_tell_of(address.host, node.host))
                self._exchange.name_nodes(address, near, now)
            case Recorded(record):
                self._exchange.actions.append(RecordFound(record))

    def _on_pinged(self, node: Enode, now: float) -> None:
        """A node that stands in the table with this address is alive; any other is asked for a proof of it."""
        if self._is_known_at(node):
            self.table.add(node, now)
            return
        self._exchange.ping_stranger(node, now)
        if not self._is_seeded and node.node_id not in self.table:
            self._uninvited.add(node.node_id)

    def _on_proven(self, node: Enode, now: float) -> None:
        """It enters the table, but not while we know few and it came by itself: else whoever is there first,
        with many keys, would have all places."""
        if node.node_id not in self._uninvited or node.node_id in self.table:
            self._welcome(node, now)
        self._uninvited.discard(node.node_id)

    def _welcome(self, node: Enode, now: float) -> None:
        """The node has answered us. Its TCP port, where it told it itself, is not what others say."""
        known = self.table.get(node.node_id)
        self.table.add(known if known is not None and self._is_known_at(node) else node, now)

    def _is_known_at(self, node: Enode) -> bool:
        known = self.table.get(node.node_id)
        return known is not None and (known.host, known.udp_port) == (node.host, node.udp_port)

    def _introduce(self, nodes: Iterable[Enode], now: float) -> None:
        """Get to know those that somebody named, where the table has room for them."""
        for node in nodes:
            if len(self._exchange.pending) >= INTRODUCTIONS_AT_ONCE:
                return
            if self.table.has_room_for(node):
                self._exchange.ping(node, now)
                self._uninvited.discard(node.node_id)

    def _refresh(self, now: float) -> None:
        """Call those we know from elsewhere, and look around once they had time to answer."""
        self._refresh_due = float("inf")
        self._look_around_due = now + SEED_PATIENCE_S
        self._exchange.actions.append(SeedsWanted())
        self._invite(self._settings.boot_nodes, now)

    def _invite(self, nodes: Iterable[Enode], now: float) -> None:
        for node in nodes:
            is_new = node.node_id not in self.table and node.node_id != self._exchange.own_id
            if is_new and kind_of(node.host).is_usable and self._settings.allowed(node.host):
                self._exchange.ping(node, now)

    def _look_around(self, now: float) -> None:
        """Search for ourselves, which fills the near buckets, and for random targets, which fill the others."""
        self._has_looked_around, self._look_around_due = True, float("inf")
        self._refresh_due = now + REFRESH_INTERVAL_S
        self._searches.begin(self._exchange.own_id)
        for _ in range(RANDOM_LOOKUPS_PER_REFRESH):
            self._searches.begin(PeerId(self._rng.randbytes(64)))

    def _store(self, now: float) -> None:
        """Have those written down that are here for long and have answered since the last time."""
        self._store_due = now + STORE_INTERVAL_S
        stored = {}
        for known in self.table:
            node = known.node
            answered_at = self._exchange.proofs.proven_at(node.node_id, node.host)
            if answered_at is None or now - known.since < self._settings.store_after_s:
                continue
            stored[node.node_id] = answered_at
            if self._stored.get(node.node_id) != answered_at:
                unix_s = answered_at + self._exchange.unix_offset_s
                failures = self._searches.failures_of(node.node_id)
                self._exchange.actions.append(StoreNode(node, unix_s, failures))
        self._stored = stored

    def _take_actions(self, now: float) -> list[Action]:
        found = list(self._searches.advance(now))
        if not self._is_seeded and self._has_looked_around and self._searches.is_idle:
            self._is_seeded = True
            self._uninvited.clear()
        if not len(self.table) and self._look_around_due == float("inf"):
            self._refresh_due = min(self._refresh_due, now + EMPTY_REFRESH_INTERVAL_S)
        taken = [*self._exchange.actions, *found]
        self._exchange.actions.clear()
        return taken
