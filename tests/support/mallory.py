"""A hostile peer: a static node that claims the heaviest chain, and what it does to those who believe it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from services.peer_gateway.core.devp2p import SUBPROTOCOL_OFFSET
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import EthMessage, GetBlockHeaders, Status
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash
from tests.support.chain_peers import dial_in
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.small_network import NETWORK_ID
from tests.support.stack import Stack
from tests.support.wire import local_node

M = TypeVar("M", bound=EthMessage)

CLAIM: Final = 10**12
"""What mallory's total difficulty is above that of her chain."""


@dataclass
class Scene:
    """A running stack that mallory is connected to, and alice, who is honest and comes when called."""

    stack: Stack
    mallory: ScriptedPeer
    honest_chain: ScriptedChain
    chain: ScriptedChain
    """What mallory serves, where she serves anything."""
    alice: ScriptedPeer | None = None

    def status(self) -> Status:
        shown = self.chain.status(NETWORK_ID)
        return shown._replace(total_difficulty=shown.total_difficulty + CLAIM)

    async def bring_alice(self) -> ScriptedPeer:
        """From here on the chain can be had from an honest peer."""
        if self.alice is None:
            self.alice = await dial_in(self.stack.enode, "alice", self.honest_chain)
        return self.alice

    async def become_master(self) -> GetBlockHeaders:
        """Join, be the one that is synced from, and let alice join too; the question for mallory's head."""
        await self.mallory.join(self.status())
        asked = await self.question_for(self.chain.headers[-1].hash)
        await self.bring_alice()
        await self.stack.until_peers(2)
        return asked

    async def serve_until(self, kind: type[M], stops: Callable[[M], bool] = lambda _: True) -> M:
        """Answer honestly, in the order asked, up to the first question of this kind that `stops`."""
        while True:
            question: EthMessage = await self.mallory.receive(object)  # type: ignore[arg-type]
            if isinstance(question, kind) and stops(question):
                return question
            reply = self.chain.answer(question)
            if reply is not None:
                self.mallory.send(reply)

    async def question_for(self, origin: BlockHash | int) -> GetBlockHeaders:
        return await self.serve_until(GetBlockHeaders, lambda asked: asked.origin == origin)


@dataclass(frozen=True)
class Attack:
    """What mallory does, and what must become of it."""

    name: str
    play: Callable[[Scene], Awaitable[None]]
    reason: DisconnectReason | None
    """Why she is disconnected; None when she leaves by herself."""
    offence: Offence
    told: str
    """A part of the one log line about it."""
    judge: str = "gateway-0"
    """The service that finds the fault, and logs it."""
    counted: str = ""
    """The judge's metric that counts it, with its labels."""
    chain: ScriptedChain | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    leaves: bool = False
    says: DisconnectReason | None = None
    """What she says when she leaves."""

    @property
    def last_word(self) -> str | None:
        """The reason that the list of disconnects shows."""
        reason = self.says if self.leaves else self.reason
        return None if reason is None else reason.name.lower()


async def scene_of(stack: Stack, listener: ScriptedListener, honest_chain: ScriptedChain, attack: Attack) -> Scene:
    """Mallory is dialled; nothing is said yet."""
    return Scene(stack, await listener.next_peer(), honest_chain, attack.chain or honest_chain)


def send_part_of_frame(peer: ScriptedPeer, code: int, size_bytes: int, *, sent_bytes: int) -> None:
    """The first bytes of the frame of an eth message with that much content."""
    pipe = peer.connection._pipe
    assert pipe is not None
    peer.send_bytes(pipe._writer.encode(SUBPROTOCOL_OFFSET + code, bytes(size_bytes))[:sent_bytes])


MALLORY: Final = local_node("mallory")
