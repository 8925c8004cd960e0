"""What the doctor says and asks once a version of eth is agreed on: Status, a Ping, and one or two headers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from services.peer_gateway.core.chain_names import (
    DaoFork,
    ExpectedChain,
    disputed_dao_fork,
    network_in_words,
    networks_of,
    side_in_words,
)
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.eth_session import EthSession, StatusTimedOut
from services.peer_gateway.core.findings import Finding
from services.peer_gateway.core.head_check import dao_side, empty_answer, head_not_served, head_of, header_at
from services.peer_gateway.core.narration import Narration
from services.peer_gateway.core.verdicts import Outcome, StepName
from services.shared.ethwire.eth_messages import decode_message, encode_message
from services.shared.ethwire.messages import BlockHeaders, EthMessage, MessageCode, Status
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash

OUR_TOTAL_DIFFICULTY: Final = 1
"""What our Status says: we have no block, so nobody should want to sync from us."""

MOST_ANSWERS: Final = 64
"""Questions of the peer that are answered; it has a few for a newcomer, and more would only fill our memory."""

_NO_STATUS: Final = Status(0, 0, 0, BlockHash(bytes(32)), BlockHash(bytes(32)))
"""Ours to a peer whose first message is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorLimits:
    """How long each step may take; the defaults are the gateway's own."""

    dial_s: float = 15.0

    handshake_s: float = 5.0
    """For the encryption handshake and Hello together, and again for Status."""

    answer_s: float = 10.0
    """For each question after that."""


class Interview:
    """From Status to the last question. Faults of the peer are raised, for the caller to end the connection with.

    Our Status waits for the peer's: some clients that are told of another chain hang up before theirs is written,
    and then nobody could say which one they follow. Without a chain that is expected it repeats the peer's network
    and genesis, so that the peer stays.
    """

    def __init__(
        self,
        connection: Connection,
        tell: Narration,
        expected: ExpectedChain | None,
        limits: DoctorLimits,
    ) -> None:
        self._connection, self._tell = connection, tell
        self._expected, self._limits = expected, limits
        self._version = tell.facts.eth_version or 0
        self._eth: EthSession | None = None
        self._dao: DaoFork | None = None
        self._answers_left = MOST_ANSWERS
        self.status: Status | None = None
        """The peer's, also where it was refused."""
        self.deadline = tell.began + limits.handshake_s
        """When the step under way has taken too long."""

    def receive(self, code: int, payload: bytes, now: float) -> None:
        """Take a message of eth. Raises PeerFault."""
        if self._tell.stage is StepName.STATUS:
            self._on_first_message(code, payload, now)
        elif self._eth is not None:
            self._on_message(self._eth.receive(code, payload), now)

    def receive_pong(self, now: float) -> None:
        """A Pong came, some time or now."""
        tell = self._tell
        if tell.stage is StepName.PING:
            tell.facts = replace(tell.facts, ping_s=now - tell.began)
            tell.done("it answered a Ping", now, then=StepName.HEAD)
            self._ask_head(now)

    def on_late(self, now: float) -> None:
        """The step under way took too long. Raises StatusTimedOut where it was Status."""
        late = f"no answer within {self._limits.answer_s:g} s"
        match self._tell.stage:
            case StepName.STATUS:
                raise StatusTimedOut(self._limits.handshake_s)
            case StepName.PING:
                self._tell.done(late, now, then=StepName.HEAD, outcome=Outcome.NOTE)
                self._ask_head(now)
            case StepName.HEAD:
                self._end(head_not_served(late), now)
            case _:
                self._works(f"{late}, so its side of the DAO fork is open", now, Outcome.NOTE)

    def _say_status(self, network_id: int, genesis_hash: BlockHash) -> EthSession:
        """Say our Status: that of a node which has nothing but genesis."""
        ours = Status(0, network_id, OUR_TOTAL_DIFFICULTY, genesis_hash, genesis_hash)
        self._eth = EthSession(self._version, ours, self._tell.began, self._limits.handshake_s)
        self._connection.send_message(*self._eth.opening)
        return self._eth

    def _on_first_message(self, code: int, payload: bytes, now: float) -> None:
        status = _NO_STATUS
        if code == MessageCode.STATUS:
            decoded = decode_message(self._version, code, payload)
            assert isinstance(decoded, Status)
            status = self.status = decoded
            self._note(status)
        ours = self._expected or status
        self._say_status(ours.network_id, ours.genesis_hash).receive(code, payload)
        head = f"head 0x{status.head_hash.hex()[:16]}…, total difficulty {status.total_difficulty}"
        self._tell.done(f"{network_in_words(status)}, {head}", now, then=StepName.PING)
        self._dao = self._expected.dao_fork if self._expected is not None else disputed_dao_fork(status)
        self._connection.send_ping()
        self.deadline = now + self._limits.answer_s

    def _note(self, status: Status) -> None:
        self._tell.facts = replace(
            self._tell.facts,
            network_id=status.network_id,
            genesis_hash=status.genesis_hash,
            network=" or ".join(found.name for found in networks_of(status)) or None,
            head_hash=status.head_hash,
            total_difficulty=status.total_difficulty,
        )

    def _on_message(self, message: EthMessage, now: float) -> None:
        answer = empty_answer(message)
        if answer is not None and self._answers_left:
            self._answers_left -= 1
            self._send(answer)
        elif isinstance(message, BlockHeaders) and self._tell.stage is StepName.HEAD:
            self._on_head(message, now)
        elif isinstance(message, BlockHeaders) and self._tell.stage is StepName.DAO:
            self._on_dao(message, now)

    def _ask_head(self, now: float) -> None:
        assert self.status is not None
        self._send(header_at(self.status.head_hash))
        self.deadline = now + self._limits.answer_s

    def _on_head(self, reply: BlockHeaders, now: float) -> None:
        assert self.status is not None
        head = head_of(reply, self.status.head_hash)
        if head is None:
            self._end(head_not_served("its answer is empty"), now)
            return
        self._tell.facts = replace(self._tell.facts, head_number=head.number)
        text = f"its head is block {head.number}"
        if self._dao is None:
            self._works(text, now)
        elif head.number < self._dao.block:
            self._works(f"{text}, below the DAO fork at {self._dao.block}", now)
        else:
            self._tell.done(text, now, then=StepName.DAO)
            self._send(header_at(self._dao.block))
            self.deadline = now + self._limits.answer_s

    def _on_dao(self, reply: BlockHeaders, now: float) -> None:
        assert self._dao is not None
        assert self.status is not None
        answer = dao_side(reply, self._dao, self.status)
        if answer.support is not None:
            side = side_in_words(self.status, supports=answer.support)
            self._tell.facts = replace(self._tell.facts, dao_fork_support=answer.support, network=side)
        if answer.finding is None:
            self._works(answer.text, now, Outcome.NOTE if answer.support is None else Outcome.OK)
        else:
            self._end(answer.finding, now)

    def _works(self, text: str, now: float, outcome: Outcome = Outcome.OK) -> None:
        self._connection.disconnect(Offence.SHUTDOWN)
        self._tell.works(text, now, outcome)

    def _end(self, finding: Finding, now: float) -> None:
        self._connection.disconnect(Offence.SHUTDOWN)
        self._tell.end(finding, now)

    def _send(self, message: EthMessage) -> None:
        self._connection.send_message(*encode_message(self._version, message))
