"""Carries out the challenges of new peers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import assert_never

from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.types import Header, PeerId
from services.sync_coordinator.core.challenges import AskHeader, ChallengeAction, ChallengeFailed, Challenges
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.reply_router import Asker
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.store.chain_store import ChainStore


class ChallengeDriver:
    """The edge around one `Challenges`. `dao_block`: the network's DAO fork block, if it has one."""

    def __init__(
        self, challenges: Challenges, dao_block: int | None, asker: PeerAsker, peers: PeerSet, store: ChainStore
    ) -> None:
        self._challenges = challenges
        self._dao_block = dao_block
        self._asker = asker
        self._peers = peers
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._wakeup = Wakeup(self._on_wakeup)

    def on_peer_joined(self, peer: PeerId) -> None:
        self._carry_out(self._challenges.on_peer_joined(peer, self._loop.time()))

    def challenged(self) -> set[PeerId]:
        """The peers that owe an answer."""
        return self._challenges.challenged()

    def on_peer_left(self, peer: PeerId) -> None:
        self._challenges.on_peer_left(peer)
        self._wakeup.at(self._challenges.next_wakeup())

    def on_headers(self, request_id: int, peer: PeerId, headers: Sequence[Header]) -> None:
        reaches_fork = self._reaches_dao_fork(peer)
        self._carry_out(self._challenges.on_headers(request_id, headers, peer_reaches_fork=reaches_fork))

    def on_request_lost(self, request_id: int) -> None:
        self._carry_out(self._challenges.on_request_lost(request_id, self._loop.time()))

    def close(self) -> None:
        """Ask and drop nobody any more."""
        self._wakeup.at(None)

    def _on_wakeup(self) -> None:
        self._carry_out(self._challenges.on_wakeup(self._loop.time()))

    def _carry_out(self, actions: Sequence[ChallengeAction]) -> None:
        for action in actions:
            match action:
                case AskHeader(request_id, peer, number):
                    query = GetBlockHeaders(number, 1, 0, reverse=False)
                    self._asker.ask_headers(Asker.CHALLENGE, request_id, peer, query)
                case ChallengeFailed(peer, offence, explanation):
                    self._asker.drop(peer, offence, explanation)
                case _:
                    assert_never(action)
        self._wakeup.at(self._challenges.next_wakeup())

    def _reaches_dao_fork(self, node_id: PeerId) -> bool:
        """Whether we hold the DAO fork block, and this peer claims at least its total difficulty."""
        peer = self._peers.get(node_id)
        block_hash = None if self._dao_block is None else self._store.canonical_hash(self._dao_block)
        total_difficulty = None if block_hash is None else self._store.total_difficulty(block_hash)
        return peer is not None and total_difficulty is not None and peer.total_difficulty >= total_difficulty
