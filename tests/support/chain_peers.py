"""Honest peers of the small network: whoever meets one gets its Status, and answers from its chain."""

from __future__ import annotations

import itertools

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import EthMessage, GetBlockBodies, NewBlock, NewBlockHashes, Status
from services.shared.ethwire.types import Announce, BlockHash
from tests.support.deadlines import until
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import Answer, ScriptedPeer
from tests.support.small_network import NETWORK_ID
from tests.support.wire import local_node

_visitors = itertools.count()


def honest(chain: ScriptedChain, *, status: Status | None = None, version: int = 63) -> Answer:
    """Answers Status with its own and questions from `chain`; `status` is for one that claims something else."""
    own = (status or chain.status(NETWORK_ID))._replace(protocol_version=version)
    return lambda message: own if isinstance(message, Status) else chain.answer(message)


async def dial_in(
    node: Enode, name: str, chain: ScriptedChain, *, network_id: int = NETWORK_ID, **local: object
) -> ScriptedPeer:
    """A peer that connects to `node`, with both handshakes done."""
    peer = await ScriptedPeer.dial(node, local_node(name, **local))
    peer.answer = chain.answer
    await peer.join(chain.status(network_id))
    return peer


async def until_shown(node: Enode, wanted: Status, **local: object) -> None:
    """Wait until newcomers are shown this status: gateways hear of a new head a moment after it is ours."""

    async def is_shown() -> bool:
        visitor = await ScriptedPeer.dial(node, local_node(f"visitor-{next(_visitors)}", **local))
        shown: Status = await visitor.join(wanted._replace(total_difficulty=0))
        visitor.disconnect(DisconnectReason.CLIENT_QUITTING)
        return shown == wanted._replace(protocol_version=visitor.eth_version)

    await until(is_shown, "the new head in our Status")


class BodyGate:
    """Holds back the answers to questions for bodies above `limit`, and to all bodies asked for after those."""

    def __init__(self, chain: ScriptedChain, limit: int | None, answer: Answer | None = None) -> None:
        """`answer` is for all other messages; without it, those of an honest peer of the small network."""
        self._chain, self._answer = chain, answer or honest(chain)
        self.limit = limit
        self.held: list[GetBlockBodies] = []
        self.answered = 0

    def answer(self, message: EthMessage) -> EthMessage | None:
        if isinstance(message, GetBlockBodies) and (self.held or self._holds(message)):
            self.held.append(message)
            return None
        self.answered += 1
        return self._answer(message)

    def release(self, peer: ScriptedPeer) -> None:
        """Answer, in their order, the questions that were held."""
        held, self.held = self.held, []
        for question in held:
            reply = self._chain.answer(question)
            assert reply is not None
            peer.send(reply)

    def _holds(self, question: GetBlockBodies) -> bool:
        return self.limit is not None and max(map(self._chain.numbers.__getitem__, question.hashes)) > self.limit


class RelayEar:
    """Notes what a peer is sent of new blocks."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self._answer = peer.answer
        self.blocks: list[NewBlock] = []
        self.announces: list[Announce] = []
        peer.answer = self._hear

    def announced(self, number: int) -> list[BlockHash]:
        return [announce.block_hash for announce in self.announces if announce.number == number]

    def knows(self, block_hash: BlockHash) -> bool:
        """Whether the peer was sent this block, or told of it."""
        sent = {decode_header(block.header_rlp).hash for block in self.blocks}
        return block_hash in sent or any(announce.block_hash == block_hash for announce in self.announces)

    def _hear(self, message: EthMessage) -> EthMessage | None:
        match message:
            case NewBlock():
                self.blocks.append(message)
            case NewBlockHashes(announces):
                self.announces += announces
        return self._answer(message) if self._answer is not None else None
