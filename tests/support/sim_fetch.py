"""Announced and propagated blocks in virtual time: the real fetcher, simulated peers and importer, fake edges."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from services.shared.ethwire.types import Announce, Block, BlockHash, PeerId
from services.sync_coordinator.core.announce_fetcher import AnnounceFetcher
from services.sync_coordinator.core.fetcher_actions import (
    BlockOutcome,
    DropFetchPeer,
    FetchBodies,
    FetcherAction,
    FetchHeader,
    ImportFetched,
)
from services.sync_coordinator.core.sync_actions import RequestBodies, RequestHeaders, SyncMode
from tests.support.chain_maker import BROKEN_RULE, MadeChain
from tests.support.memory_chain import MemoryChain
from tests.support.sim_net import SimNet
from tests.support.sim_peers import SimPeer


class SimFetch:
    """A coordinator that only follows its head, which is that of `chain` when it begins."""

    def __init__(self, seed: int, mode: SyncMode, chain: MadeChain) -> None:
        self.net = SimNet(seed)
        self.chance = random.Random(f"{seed} {mode.name}")
        """For what a scenario draws."""
        self.mode, self.import_seconds = mode, self.chance.choice((0.0, 0.001, 0.05))
        self.chain = MemoryChain()
        (self.chain.fill_headers if self._is_light else self.chain.fill)(chain)
        ids = itertools.count(1)
        self.fetcher = AnnounceFetcher(
            lambda: self.head_number, self._has, lambda: next(ids), self.net.rng, with_bodies=not self._is_light
        )
        self.peers: dict[PeerId, SimPeer] = {}
        self.dropped: dict[str, DropFetchPeer] = {}
        self.asked_headers: list[tuple[str, BlockHash]] = []
        self.asked_bodies: list[tuple[str, Sequence[BlockHash]]] = []
        self.handed: list[Block] = []
        """Blocks in the order in which the importer was given them."""
        self.imported: list[int] = []
        self._timers = 0

    @property
    def _is_light(self) -> bool:
        return self.mode is SyncMode.LIGHT

    @property
    def head_number(self) -> int:
        heads = self.chain.heads()
        return (heads.header if self._is_light else heads.full_block).number

    def peer(self, name: str, chain: MadeChain, *, loss: float = 0.0, nearest: float | None = None) -> SimPeer:
        """A connected peer that has `chain`."""
        near = self.chance.choice((0.01, 0.1, 0.4)) if nearest is None else nearest
        latency = (near, near * self.chance.uniform(1, 3))
        peer = SimPeer(name, chain, eth_version=self.chance.choice((62, 63)), latency=latency, loss=loss)
        self.peers[peer.node_id] = peer
        return peer

    def announce(self, peer: SimPeer, number: int, claimed: int | None = None) -> None:
        """The peer's announce arrives now."""
        announce = Announce(peer.chain.headers[number].hash, number if claimed is None else claimed)
        if peer.node_id in self.peers:
            self.carry_out(self.fetcher.on_announce(peer.node_id, announce, self.net.now))

    def propagate(self, peer: SimPeer, number: int) -> None:
        """The peer's whole block arrives now."""
        if peer.node_id in self.peers:
            self.carry_out(self.fetcher.on_block(peer.node_id, peer.chain.block(number), self.net.now))

    def disconnect(self, peer: SimPeer) -> None:
        if self.peers.pop(peer.node_id, None) is not None:
            self.fetcher.on_peer_left(peer.node_id)

    def run(self, seconds: float) -> None:
        self.net.run_until(self.net.now + seconds)

    def carry_out(self, actions: Sequence[FetcherAction]) -> None:
        for action in actions:
            match action:
                case FetchHeader(request_id, peer, block_hash):
                    self._ask_header(request_id, peer, block_hash)
                case FetchBodies(request_id, peer, hashes):
                    self._ask_bodies(request_id, peer, hashes)
                case ImportFetched(block, _):
                    self.handed.append(block)
                    self.net.at(self.net.now + self.import_seconds, partial(self._import, block))
                case DropFetchPeer(peer, _, _):
                    if peer in self.peers:
                        self.dropped[self.peers[peer].name] = action
                        self.disconnect(self.peers[peer])
                case _:
                    assert_never(action)
        self._plan_wakeup()

    def _has(self, block_hash: BlockHash) -> bool:
        known = self.chain.header(block_hash) is not None
        return known if self._is_light else self.chain.has_body(block_hash)

    def _plan_wakeup(self) -> None:
        """One timer, set anew after each input, as the driver does; it also fires where less is to do by then."""
        self._timers += 1
        due, timer = self.fetcher.next_wakeup(), self._timers

        def wake() -> None:
            if timer == self._timers:
                self.carry_out(self.fetcher.on_wakeup(self.net.now))
                again = self.fetcher.next_wakeup()
                assert again is None or again > self.net.now, "a wakeup has to do what it was wanted for"

        if due is not None:
            self.net.at(max(due, self.net.now), wake)

    def _ask_header(self, request_id: int, node_id: PeerId, block_hash: BlockHash) -> None:
        peer = self.peers[node_id]
        self.asked_headers.append((peer.name, block_hash))
        headers = peer.headers(RequestHeaders(request_id, node_id, block_hash, 1))
        if headers is not None and self.net.rng.random() >= peer.loss:
            self._answer(peer, lambda: self.carry_out(self.fetcher.on_headers(request_id, headers, self.net.now)))

    def _ask_bodies(self, request_id: int, node_id: PeerId, hashes: Sequence[BlockHash]) -> None:
        peer = self.peers[node_id]
        self.asked_bodies.append((peer.name, hashes))
        bodies = peer.bodies(RequestBodies(request_id, node_id, hashes))
        if bodies is not None and self.net.rng.random() >= peer.loss:
            self._answer(peer, lambda: self.carry_out(self.fetcher.on_bodies(request_id, bodies, self.net.now)))

    def _answer(self, peer: SimPeer, arrive: Callable[[], None]) -> None:
        """In order, as known clients answer; nothing of what a peer that left had to say arrives."""
        peer.free_at = max(peer.free_at, self.net.now + self.net.rng.uniform(*peer.latency))

        def deliver() -> None:
            if peer.node_id in self.peers:
                arrive()

        self.net.at(peer.free_at, deliver)

    def _import(self, block: Block) -> None:
        """As the coordinator does: judge the header, import the block, and look what waited for the new head."""
        header = block.header
        if not self._has(header.parent_hash):
            outcome = BlockOutcome.PARENT_UNKNOWN
        elif header.extra_data == BROKEN_RULE:
            outcome = BlockOutcome.INVALID
        else:
            outcome = BlockOutcome.IMPORTED
            self.imported.append(header.number)
            if self._is_light:
                self.chain.add_headers([header])
            else:
                self.chain.add_blocks([block])
            self.carry_out(self.fetcher.on_head_moved())
        self.carry_out(self.fetcher.on_imported(header.hash, outcome, self.net.now))
