"""The Kademlia table: which proven nodes are known, near ones better than far ones (geth `p2p/discover/table.go`).

The distance of two nodes is the exclusive or of their hashed ids; a node stands in the bucket of its distance's length
in bits from us. Half of all nodes belong into the farthest bucket, a quarter into the next, and so on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from services.peer_gateway.core.addresses import kind_of, subnet_of
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import PeerId

BUCKET_SIZE: Final = 16
"""Nodes in a bucket, and nodes in a reply: the k of the Kademlia paper."""

REPLACEMENTS_PER_BUCKET: Final = 10
"""Nodes that wait for a place in a full bucket."""

BUCKET_COUNT: Final = 17
"""One for each of the longest distances, 240 to 256 bits; all that is nearer shares the first. Even in a network of
millions of nodes hardly one is nearer than that."""

SUBNET_NODES_PER_BUCKET: Final = 2
"""Places in one bucket for nodes of one neighbourhood, those that wait included: keys are free, addresses are not."""

SUBNET_NODES_PER_TABLE: Final = 10
"""The same over all buckets."""

_HASH_BITS: Final = 256
_NEAREST_BUCKET_BITS: Final = _HASH_BITS - BUCKET_COUNT + 1


def node_hash(node_id: PeerId) -> int:
    """A node's place in the space that distances are measured in."""
    return int.from_bytes(keccak256(node_id))


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node of the table, with its place and the time at which it came in."""

    node: Enode
    place: int
    since: float


@dataclass(slots=True)
class _Bucket:
    entries: list[KnownNode] = field(default_factory=list)
    """The one last heard of first."""
    replacements: list[KnownNode] = field(default_factory=list)
    """The newest first."""
    subnets: Counter[str] = field(default_factory=Counter)
    """How many of all these are of which neighbourhood."""


class NodeTable:
    """Holds nodes that have proven their endpoint; whether they have is the caller's duty.

    A node is in at most one list of one bucket, our own is in none. Who is in stays in as long as it answers: a
    newcomer to a full bucket waits among its replacements, so nobody can be pushed out.
    """

    def __init__(self, own_id: PeerId, rng: random.Random) -> None:
        self._own_id = own_id
        self._own_place = node_hash(own_id)
        self._rng = rng
        self._buckets = [_Bucket() for _ in range(BUCKET_COUNT)]
        self._subnets: Counter[str] = Counter()
        self._entries: dict[PeerId, KnownNode] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, node_id: PeerId) -> bool:
        return node_id in self._entries

    def __iter__(self) -> Iterator[KnownNode]:
        return iter(list(self._entries.values()))

    def get(self, node_id: PeerId) -> Enode | None:
        known = self._entries.get(node_id)
        return known.node if known is not None else None

    def add(self, node: Enode, now: float) -> bool:
        """The node has just been heard of: put it first, or let it wait. True when it is in the table afterwards."""
        if node.node_id == self._own_id:
            return False
        place = node_hash(node.node_id)
        bucket = self._bucket(place)
        known = self._entries.get(node.node_id)
        if known is not None:
            return self._bump(bucket, known, node)
        waiting = _find(bucket.replacements, node.node_id)
        if waiting is not None:
            self._take_out(bucket, bucket.replacements, waiting)
        newcomer = KnownNode(node, place, now)
        if len(bucket.entries) < BUCKET_SIZE:
            return self._put_first(bucket, bucket.entries, newcomer)
        self._put_first(bucket, bucket.replacements, newcomer)
        if len(bucket.replacements) > REPLACEMENTS_PER_BUCKET:
            self._take_out(bucket, bucket.replacements, bucket.replacements[-1])
        return False

    def remove(self, node_id: PeerId) -> None:
        """Take a node out, without one of its replacements coming in."""
        bucket = self._bucket(node_hash(node_id))
        for nodes in (bucket.entries, bucket.replacements):
            known = _find(nodes, node_id)
            if known is not None:
                self._take_out(bucket, nodes, known)

    def replace(self, node_id: PeerId, now: float) -> Enode | None:
        """Take out a node that no longer answers, and put a random one of those that wait in its place, last.

        The result is that one: it waits for its next check like any that has long been silent.
        """
        bucket = self._bucket(node_hash(node_id))
        self.remove(node_id)
        if not bucket.replacements or len(bucket.entries) >= BUCKET_SIZE:
            return None
        waiting = self._rng.choice(bucket.replacements)
        bucket.replacements.remove(waiting)
        promoted = KnownNode(waiting.node, waiting.place, now)
        bucket.entries.append(promoted)
        self._entries[promoted.node.node_id] = promoted
        return promoted.node

    def to_revalidate(self) -> Enode | None:
        """The node that was silent longest, of a random bucket that has any."""
        occupied = [bucket for bucket in self._buckets if bucket.entries]
        return self._rng.choice(occupied).entries[-1].node if occupied else None

    def has_room_for(self, node: Enode) -> bool:
        """Whether the node is not in the table and would find a place in it."""
        bucket = self._bucket(node_hash(node.node_id))
        is_new = node.node_id not in self._entries and node.node_id != self._own_id
        return is_new and len(bucket.entries) < BUCKET_SIZE and self._may_stand(bucket, node.host)

    def is_crowded(self, node_id: PeerId) -> bool:
        """Whether the node's bucket can do without one."""
        return len(self._bucket(node_hash(node_id)).entries) >= BUCKET_SIZE // 2

    def closest(self, target: PeerId, count: int, accept: Callable[[Enode], bool] = lambda _: True) -> list[Enode]:
        """The accepted nodes nearest to `target`, nearest first."""
        place = node_hash(target)
        ordered = sorted(self._entries.values(), key=lambda known: known.place ^ place)
        accepted = [known.node for known in ordered if accept(known.node)]
        return accepted[:count]

    def random_nodes(self, count: int) -> list[Enode]:
        """Different nodes, the one last heard of from each bucket before a second of any."""
        columns = [list(bucket.entries) for bucket in self._buckets if bucket.entries]
        self._rng.shuffle(columns)
        rows = (column[row] for row in range(BUCKET_SIZE) for column in columns if row < len(column))
        return [known.node for known, _ in zip(rows, range(count), strict=False)]

    def _bucket(self, place: int) -> _Bucket:
        distance_bits = (place ^ self._own_place).bit_length()
        return self._buckets[max(0, distance_bits - _NEAREST_BUCKET_BITS)]

    def _bump(self, bucket: _Bucket, known: KnownNode, node: Enode) -> bool:
        """Put a node of the table first, at its new address if that has room; a move makes it no newer."""
        self._take_out(bucket, bucket.entries, known)
        if not self._put_first(bucket, bucket.entries, KnownNode(node, known.place, known.since)):
            self._put_first(bucket, bucket.entries, known)
        return True

    def _put_first(self, bucket: _Bucket, nodes: list[KnownNode], newcomer: KnownNode) -> bool:
        """False when the neighbourhood has its share already."""
        host = newcomer.node.host
        if not self._may_stand(bucket, host):
            return False
        if not kind_of(host).is_lan:
            bucket.subnets[subnet_of(host)] += 1
            self._subnets[subnet_of(host)] += 1
        nodes.insert(0, newcomer)
        if nodes is bucket.entries:
            self._entries[newcomer.node.node_id] = newcomer
        return True

    def _may_stand(self, bucket: _Bucket, host: str) -> bool:
        """Whether the neighbourhood of this host has places left."""
        if kind_of(host).is_lan:
            return True
        subnet = subnet_of(host)
        here, everywhere = bucket.subnets[subnet], self._subnets[subnet]
        return here < SUBNET_NODES_PER_BUCKET and everywhere < SUBNET_NODES_PER_TABLE

    def _take_out(self, bucket: _Bucket, nodes: list[KnownNode], known: KnownNode) -> None:
        nodes.remove(known)
        if nodes is bucket.entries:
            del self._entries[known.node.node_id]
        if not kind_of(known.node.host).is_lan:
            subnet = subnet_of(known.node.host)
            for counts in (bucket.subnets, self._subnets):
                counts[subnet] -= 1
                if not counts[subnet]:
                    del counts[subnet]


def _find(nodes: list[KnownNode], node_id: PeerId) -> KnownNode | None:
    return next((known for known in nodes if known.node.node_id == node_id), None)
