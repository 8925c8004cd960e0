"""Many nodes that pass blocks on, in virtual time: the real fetcher, relay, known blocks and send queues, fake edges.

The downloader has simulations of its own; here a sync is a peer's chain that arrives whole a moment later.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import BlockRelay, JoinedPeer, RelayBlock
from services.broadcaster.core.fan_out import FanOut
from services.peer_gateway.core.known_blocks import KnownBlocks
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.core.snappy_codec import Payload
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import EthMessage, NewBlock, NewBlockHashes
from services.shared.ethwire.types import Announce, Block, BlockHash, Body, PeerId
from services.sync_coordinator.core.announce_fetcher import AnnounceFetcher
from services.sync_coordinator.core.fetcher_actions import (
    BlockOutcome,
    DropFetchPeer,
    FetchBodies,
    FetcherAction,
    FetchHeader,
    ImportFetched,
)
from tests.support.chain_maker import make_body, make_header
from tests.support.memory_chain import MemoryChain
from tests.support.sim_line import ETH_VERSION, Line, decoded
from tests.support.sim_net import SimNet

GATEWAY = GatewayId("gateway")
IMPORT_S = 0.02
SYNC_S = 1.0


class Spread:
    """What went over all wires."""

    def __init__(self) -> None:
        self.whole: Counter[BlockHash] = Counter()
        self.hashes: Counter[BlockHash] = Counter()
        self.rounds: dict[tuple[PeerId, BlockHash], int] = {}
        """How many hops a block had made when it was at a node."""
        self.repeated = 0
        """Sends over a link that had carried the block in the same direction."""
        self.in_vain = 0
        """Sends to a peer from which the block had come."""
        self.dropped: list[str] = []
        self.refused = 0
        """Messages for which a peer's queue had no room."""


class SpreadNode:
    """One node: its chain, who knows what, and what it hears."""

    def __init__(self, number: int, net: SimNet, spread: Spread, fan_out: FanOut = FanOut.SEED) -> None:
        self.peer_id = PeerId(number.to_bytes(64, "big"))
        self.number, self.net, self.spread = number, net, spread
        self.chain = MemoryChain()
        self.peers: dict[PeerId, SpreadNode] = {}
        self._rng = random.Random(number)
        self._relay = BlockRelay(fan_out, self._rng)
        self._relay.attach(GATEWAY, [])
        self._known: dict[PeerId, KnownBlocks] = {}
        self.lines: dict[PeerId, Line] = {}
        self._came_from: set[tuple[PeerId, BlockHash]] = set()
        self._went_to: set[tuple[PeerId, BlockHash]] = set()
        self._total_difficulty_of: dict[PeerId, int] = {}
        self._is_syncing = False
        ids = itertools.count(1)
        self._fetcher = AnnounceFetcher(
            head_number=lambda: self.chain.heads().full_block.number,
            has_block=self.chain.has_body,
            next_id=lambda: next(ids),
            rng=self._rng,
        )
        self._woken_at: float | None = None

    @property
    def head(self) -> BlockHash:
        return self.chain.heads().full_block.hash

    @property
    def total_difficulty(self) -> int:
        return self.chain.total_difficulty(self.head) or 0

    def connect(self, other: SpreadNode) -> None:
        """A link with both Status messages exchanged."""
        for one, its_peer in ((self, other), (other, self)):
            one.peers[its_peer.peer_id] = its_peer
            one._known[its_peer.peer_id] = KnownBlocks()
            one.lines[its_peer.peer_id] = Line(self.net, functools.partial(its_peer.on_message, one))
            one._relay.join(GATEWAY, JoinedPeer(its_peer.peer_id))
            one._total_difficulty_of[its_peer.peer_id] = its_peer.total_difficulty
        for one in (self, other):
            one._consider_sync()

    def disconnect(self, other: SpreadNode) -> None:
        for one, its_peer in ((self, other), (other, self)):
            del one.peers[its_peer.peer_id], one._known[its_peer.peer_id], one._total_difficulty_of[its_peer.peer_id]
            del one.lines[its_peer.peer_id]
            one._relay.leave(GATEWAY, its_peer.peer_id)
            one._fetcher.on_peer_left(its_peer.peer_id)

    def mine(self, branch: int = 0, difficulty: int = 1000) -> Block:
        """A block on our head, taken as one that was handed in."""
        parent = self.chain.heads().full_block
        body = make_body(parent.number + 1, branch)
        block = Block(make_header(parent, body, branch=branch, difficulty=difficulty), body.body_rlp)
        self.spread.rounds[self.peer_id, block.header.hash] = 0
        self._publish(block, ())
        return block

    # What peers send

    def on_message(self, sender: SpreadNode, message: Outgoing) -> None:
        if sender.peer_id not in self.peers:
            return
        match decoded(message.code, message.payload.plain):
            case NewBlock(header_rlp, body_rlp, total_difficulty):
                self._on_block(sender, Block(decode_header(header_rlp), body_rlp), total_difficulty)
            case NewBlockHashes(announces):
                for announce in announces:
                    self._on_announce(sender, announce)
            case other:
                raise AssertionError(f"nobody sends {other}")

    def _on_block(self, sender: SpreadNode, block: Block, total_difficulty: int) -> None:
        self._heard(sender, block.header.hash)
        self._carry_out(self._fetcher.on_block(sender.peer_id, block, self.net.now))
        before = total_difficulty - block.header.difficulty
        if before > self._total_difficulty_of[sender.peer_id]:
            self._total_difficulty_of[sender.peer_id] = before
            self._consider_sync()

    def _on_announce(self, sender: SpreadNode, announce: Announce) -> None:
        self._heard(sender, announce.block_hash)
        self._carry_out(self._fetcher.on_announce(sender.peer_id, announce, self.net.now))

    def _heard(self, sender: SpreadNode, block_hash: BlockHash) -> None:
        hops = self.spread.rounds.get((sender.peer_id, block_hash), 0) + 1
        self.spread.rounds.setdefault((self.peer_id, block_hash), hops)
        self._came_from.add((sender.peer_id, block_hash))
        self._known[sender.peer_id].add([block_hash])
        self._relay.mark_known(GATEWAY, sender.peer_id, [block_hash])

    # What we do

    def _carry_out(self, actions: Sequence[FetcherAction]) -> None:
        for action in actions:
            match action:
                case FetchHeader(request_id, peer, block_hash):
                    self._ask_header(request_id, peer, block_hash)
                case FetchBodies(request_id, peer, hashes):
                    self._ask_bodies(request_id, peer, hashes)
                case ImportFetched(block, peer):
                    self._import(block, peer)
                case DropFetchPeer(_, _, explanation):
                    self.spread.dropped.append(explanation)
                case _:
                    assert_never(action)
        self._sleep()

    def _sleep(self) -> None:
        wakeup = self._fetcher.next_wakeup()
        if wakeup is not None and (self._woken_at is None or wakeup < self._woken_at):
            self._woken_at = wakeup
            self.net.at(wakeup, self._wake)

    def _wake(self) -> None:
        self._woken_at = None
        self._carry_out(self._fetcher.on_wakeup(self.net.now))

    def _ask_header(self, request_id: int, peer: PeerId, block_hash: BlockHash) -> None:
        asked = self.peers[peer]

        def answer() -> None:
            header = asked.chain.header(block_hash)
            found = [header] if header is not None else []
            self.net.send(lambda: self._carry_out(self._fetcher.on_headers(request_id, found, self.net.now)))

        self.net.send(answer)

    def _ask_bodies(self, request_id: int, peer: PeerId, hashes: Sequence[BlockHash]) -> None:
        asked = self.peers[peer]

        def answer() -> None:
            bodies = []
            for block_hash in hashes:
                header, body_rlp = asked.chain.header(block_hash), asked.chain.bodies.get(block_hash)
                if header is not None and body_rlp is not None:
                    bodies.append(Body(body_rlp, header.transactions_root, header.uncles_hash))
            self.net.send(lambda: self._carry_out(self._fetcher.on_bodies(request_id, bodies, self.net.now)))

        self.net.send(answer)

    def _import(self, block: Block, peer: PeerId) -> None:
        if not self.chain.has_body(block.header.parent_hash):
            unknown = BlockOutcome.PARENT_UNKNOWN
            self.net.at(self.net.now, lambda: self._imported(block, unknown))
            return
        self._publish(block, (peer,))

    def _publish(self, block: Block, origins: Sequence[PeerId]) -> None:
        """Propagate, import, announce: the order of `FetchImport`."""
        header = block.header
        total_difficulty = (self.chain.total_difficulty(header.parent_hash) or 0) + header.difficulty
        relayed = RelayBlock(header.hash, header.number, header.header_rlp, block.body_rlp, total_difficulty)
        message = NewBlock(header.header_rlp, block.body_rlp, total_difficulty)
        for send in self._relay.propagate(relayed, origins).sends:
            full = self._send(Urgency.BLOCK, message, header.hash, send.peers)
            for told in self._relay.on_refused(GATEWAY, header.hash, full):
                self._send(Urgency.ANNOUNCE, NewBlockHashes([told.announce]), header.hash, told.peers)

        def imported() -> None:
            self.chain.add_blocks([block])
            self._announce(Announce(header.hash, header.number), origins)
            if origins:
                self._imported(block, BlockOutcome.IMPORTED)

        self.net.at(self.net.now + IMPORT_S, imported)

    def _imported(self, block: Block, outcome: BlockOutcome) -> None:
        self._carry_out(self._fetcher.on_imported(block.header.hash, outcome, self.net.now))
        self._carry_out(self._fetcher.on_head_moved())

    def _announce(self, announce: Announce, origins: Sequence[PeerId] = ()) -> None:
        for send in self._relay.announce(announce, origins):
            self._send(Urgency.ANNOUNCE, NewBlockHashes([announce]), announce.block_hash, send.peers)

    def _send(
        self, urgency: Urgency, message: EthMessage, block_hash: BlockHash, peers: Sequence[PeerId]
    ) -> list[PeerId]:
        """What the gateway does with a send: not to a peer that has the block. Returns those without room for it."""
        code, payload = encode_message(ETH_VERSION, message)
        outgoing = Outgoing(code, Payload(payload))
        full: list[PeerId] = []
        for peer in peers:
            if peer not in self.peers or block_hash in self._known[peer]:
                continue
            if not self.lines[peer].send(urgency, outgoing):
                full.append(peer)
                continue
            self._known[peer].add([block_hash])
            (self.spread.whole if urgency is Urgency.BLOCK else self.spread.hashes)[block_hash] += 1
            self.spread.repeated += (peer, block_hash) in self._went_to
            self.spread.in_vain += (peer, block_hash) in self._came_from
            self._went_to.add((peer, block_hash))
        self.spread.refused += len(full)
        return full

    # Syncs

    def _consider_sync(self) -> None:
        best = max(self._total_difficulty_of, key=self._total_difficulty_of.__getitem__, default=None)
        if self._is_syncing or best is None or self._total_difficulty_of[best] <= self.total_difficulty:
            return
        self._is_syncing = True
        master = self.peers[best]

        def end() -> None:
            self._is_syncing = False
            branch: list[Block] = []
            header = master.chain.heads().full_block
            while not self.chain.has_body(header.hash):
                branch.append(Block(header, master.chain.bodies[header.hash]))
                parent = master.chain.header(header.parent_hash)
                assert parent is not None
                header = parent
            self.chain.add_blocks(branch[::-1])
            head = self.chain.heads().full_block
            self._announce(Announce(head.hash, head.number))
            self._carry_out(self._fetcher.on_head_moved())

        self.net.at(self.net.now + SYNC_S, end)


def connect_by_chance(nodes: Sequence[SpreadNode], degree: int, rng: random.Random) -> None:
    """Every node dials half of `degree` others; all of them are reached, for they also stand in a ring."""
    for index, node in enumerate(nodes):
        others = [nodes[(index + 1) % len(nodes)], *rng.sample(nodes, degree // 2 - 1)]
        for other in others:
            if other is not node and other.peer_id not in node.peers:
                node.connect(other)
