"""Who is sent a block, who is told of it, and who knows it already."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from services.broadcaster.core.attached_peers import AttachedPeers, GatewayId
from services.broadcaster.core.fan_out import FanOut, PlaceInRow, choose_propagation_peers
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.types import Announce, BlockHash, PeerId

T = TypeVar("T")

BLOCK_HASHES_PER_PEER: Final = 1024
"""Known block hashes kept for each peer, as every known client does: hours of blocks, for 4 KiB."""

DISTINCT_BLOCK_HASHES: Final = 65_536
"""Distinct block hashes over all peers, under 30 MB. Peers of one chain share theirs; only made-up hashes get here."""

REFUSED_BLOCKS: Final = 16
"""Blocks for which it is kept who had no room for them: a refusal is told within milliseconds of the send."""


@dataclass(frozen=True, slots=True)
class JoinedPeer:
    """A peer of a gateway, with the blocks the gateway last saw to or from it, oldest first."""

    peer: PeerId
    known_blocks: Sequence[BlockHash] = ()


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """A block whose header was checked. `total_difficulty` is that of the chain that ends in it."""

    block_hash: BlockHash
    number: int
    header_rlp: bytes
    body_rlp: bytes
    total_difficulty: int


@dataclass(frozen=True, slots=True)
class SendBlock:
    """Action: the whole block, once to a gateway, for these of its peers."""

    gateway: GatewayId
    peers: Sequence[PeerId]
    block: RelayBlock


@dataclass(frozen=True, slots=True)
class SendAnnounce:
    """Action: the block's hash and number, once to a gateway, for these of its peers."""

    gateway: GatewayId
    peers: Sequence[PeerId]
    announce: Announce


@dataclass(frozen=True, slots=True)
class Propagation:
    """What was decided for a block: the sends, and how many peers lacked it before."""

    sends: Sequence[SendBlock]
    lacking: int


class BlockRelay:
    """The peers of all attached gateways and the blocks each is known to have.

    A peer that joins starts with the blocks its gateway names, nothing from before: of what was sent to a gateway
    that went away, only the gateway knows what arrived.

    A returned send counts as done: the peers are marked. Caller's duty: when a send cannot be handed to the gateway,
    detach that gateway, which forgets its peers. A peer that had no room for a block is announced it like one that was
    not chosen, at once if the others were told already.
    """

    def __init__(
        self,
        fan_out: FanOut,
        rng: random.Random,
        *,
        blocks_per_peer: int = BLOCK_HASHES_PER_PEER,
        distinct_blocks: int = DISTINCT_BLOCK_HASHES,
    ) -> None:
        self._fan_out, self._rng = fan_out, rng
        self._known = KnownSets(blocks_per_peer, distinct_blocks)
        self._peers = AttachedPeers()
        self._refused: dict[BlockHash, set[PeerId]] = {}
        self._announced: dict[BlockHash, Announce] = {}

    @property
    def gateways(self) -> int:
        return self._peers.gateways

    @property
    def peers(self) -> int:
        return len(self._peers)

    @property
    def distinct_blocks(self) -> int:
        """Distinct block hashes in the known sets."""
        return self._known.distinct

    def attach(self, gateway: GatewayId, peers: Iterable[JoinedPeer]) -> None:
        """Take a gateway's snapshot; it replaces all that was known of the gateway's peers."""
        self.detach(gateway)
        self._peers.attach(gateway)
        for joined in peers:
            self.join(gateway, joined)

    def detach(self, gateway: GatewayId) -> None:
        """Forget a gateway and its peers; one that is not attached is no matter."""
        for peer in self._peers.detach(gateway):
            self._known.forget_peer(peer)

    def join(self, gateway: GatewayId, joined: JoinedPeer) -> None:
        """Add a peer. Caller's duty: the gateway is attached."""
        self._peers.join(gateway, joined.peer)
        self._known.add_peer(joined.peer)
        self._known.mark_all(joined.peer, joined.known_blocks)

    def leave(self, gateway: GatewayId, peer: PeerId) -> bool:
        """Remove a peer; False when the gateway does not have it."""
        if not self._peers.leave(gateway, peer):
            return False
        self._known.forget_peer(peer)
        return True

    def mark_known(self, gateway: GatewayId, peer: PeerId, block_hashes: Sequence[BlockHash]) -> bool:
        """The peer sent or announced these blocks; False when the gateway does not have the peer."""
        if not self._peers.has(gateway, peer):
            return False
        self._known.mark_all(peer, block_hashes)
        return True

    def count_lacking(self, block_hash: BlockHash, origins: Iterable[PeerId]) -> int:
        """How many peers lack a block that came from `origins`."""
        self._mark_origins(block_hash, origins)
        return len(self._known.lacking(block_hash))

    def propagate(self, block: RelayBlock, origins: Iterable[PeerId], place: PlaceInRow | None = None) -> Propagation:
        """Choose who gets the whole block. `origins` are the peers it came from: they have it."""
        self._mark_origins(block.block_hash, origins)
        lacking = self._known.lacking(block.block_hash)
        chosen = choose_propagation_peers(self._fan_out, lacking, self._rng, place)
        by_gateway = self._mark_sent(block.block_hash, chosen)
        return Propagation([SendBlock(gateway, peers, block) for gateway, peers in by_gateway.items()], len(lacking))

    def announce(self, announce: Announce, origins: Iterable[PeerId]) -> list[SendAnnounce]:
        """Tell every peer that still lacks the block that it exists."""
        self._mark_origins(announce.block_hash, origins)
        _remember(self._announced, announce.block_hash, announce)
        lacking = self._known.lacking(announce.block_hash)
        refused = self._refused.pop(announce.block_hash, set()).difference(lacking)
        still_here = [peer for peer in sorted(refused) if peer in self._peers]
        by_gateway = self._mark_sent(announce.block_hash, [*lacking, *still_here])
        return [SendAnnounce(gateway, peers, announce) for gateway, peers in by_gateway.items()]

    def on_refused(self, gateway: GatewayId, block_hash: BlockHash, peers: Iterable[PeerId]) -> list[SendAnnounce]:
        """A gateway could not queue a block for these of its peers: they are still to hear of it."""
        own = [peer for peer in peers if self._peers.has(gateway, peer)]
        announce = self._announced.get(block_hash)
        if announce is not None:
            return [SendAnnounce(gateway, own, announce)] if own else []
        _remember(self._refused, block_hash, self._refused.get(block_hash, set()) | set(own))
        return []

    def _mark_origins(self, block_hash: BlockHash, origins: Iterable[PeerId]) -> None:
        for peer in origins:
            if peer in self._peers:
                self._known.mark(peer, block_hash)

    def _mark_sent(self, block_hash: BlockHash, peers: Sequence[PeerId]) -> dict[GatewayId, list[PeerId]]:
        """Mark the peers as knowing the block; returns them by gateway."""
        self._known.mark_peers(peers, block_hash)
        return self._peers.by_gateway(peers)


def _remember(kept: dict[BlockHash, T], block_hash: BlockHash, value: T) -> None:
    """Keep a value for the newest few blocks."""
    kept.pop(block_hash, None)
    while len(kept) >= REFUSED_BLOCKS:
        del kept[next(iter(kept))]
    kept[block_hash] = value
