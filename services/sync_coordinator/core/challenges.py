"""Questions a new peer must answer: its DAO fork block, and the whitelisted blocks (geth `eth/handler.go`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash, Header, PeerId

DAO_CHALLENGE_TIMEOUT_S: Final = 15.0
"""A peer that has not answered by then is dropped (geth `daoChallengeTimeout`)."""

DAO_FORK_EXTRA_DATA: Final = bytes.fromhex("64616f2d686172642d666f726b")
"""Extra-data of the DAO fork block on the side that took the fork: "dao-hard-fork" (EIP-779)."""


@dataclass(frozen=True, slots=True)
class AskHeader:
    """Ask `peer` for the one header with this number."""

    request_id: int
    peer: PeerId
    number: int


@dataclass(frozen=True, slots=True)
class ChallengeFailed:
    """Drop the peer."""

    peer: PeerId
    offence: Offence
    explanation: str


ChallengeAction = AskHeader | ChallengeFailed


@dataclass(frozen=True, slots=True)
class DaoFork:
    """The DAO fork as the network configures it, and our total difficulty there once we have that block."""

    block: int
    support: bool


class Challenges:
    """The open challenges of all peers. Pure: callers pass `now`, which never goes back, and carry out the actions.

    Nothing here costs more where there are more peers.
    """

    def __init__(
        self, dao_fork: DaoFork | None, whitelist: Mapping[int, BlockHash], next_id: Callable[[], int]
    ) -> None:
        self._dao_fork = dao_fork
        self._whitelist = whitelist
        self._next_id = next_id
        self._open: dict[int, tuple[PeerId, int]] = {}
        self._open_of: dict[PeerId, set[int]] = {}
        self._dao_due: dict[PeerId, float] = {}
        """In the order in which the time is over: it is the same time for all."""

    def on_peer_joined(self, peer: PeerId, now: float) -> list[ChallengeAction]:
        actions: list[ChallengeAction] = []
        if self._dao_fork is not None:
            self._dao_due[peer] = now + DAO_CHALLENGE_TIMEOUT_S
            actions.append(self._ask(peer, self._dao_fork.block))
        actions += [self._ask(peer, number) for number in self._whitelist]
        return actions

    def challenged(self) -> set[PeerId]:
        """The peers that owe an answer."""
        return set(self._open_of)

    def on_peer_left(self, peer: PeerId) -> None:
        self._dao_due.pop(peer, None)
        for request_id in self._open_of.pop(peer, ()):
            del self._open[request_id]

    def on_headers(
        self, request_id: int, headers: Sequence[Header], *, peer_reaches_fork: bool
    ) -> list[ChallengeAction]:
        """Judge an answer. `peer_reaches_fork`: we hold the DAO block and the peer claims to be at least as heavy."""
        entry = self._close(request_id)
        if entry is None:
            return []
        peer, number = entry
        answer = headers[0] if headers else None
        problem, offence = None, Offence.DAO_MISMATCH
        if self._dao_fork is not None and number == self._dao_fork.block and peer in self._dao_due:
            del self._dao_due[peer]
            problem = self._judge_dao(self._dao_fork, answer, peer_reaches_fork=peer_reaches_fork)
        if problem is None and answer is not None:
            problem, offence = self._judge_whitelist(number, answer), Offence.WHITELIST_MISMATCH
        return [] if problem is None else [ChallengeFailed(peer, offence, problem)]

    def on_request_lost(self, request_id: int, now: float) -> list[ChallengeAction]:
        """A question that our own side lost is asked again, and has its whole time again."""
        entry = self._close(request_id)
        if entry is None:
            return []
        peer, number = entry
        if peer in self._dao_due and self._dao_fork is not None and number == self._dao_fork.block:
            del self._dao_due[peer]
            self._dao_due[peer] = now + DAO_CHALLENGE_TIMEOUT_S
        return [self._ask(peer, number)]

    def next_wakeup(self) -> float | None:
        return next(iter(self._dao_due.values()), None)

    def on_wakeup(self, now: float) -> list[ChallengeAction]:
        late = [peer for peer, _ in itertools.takewhile(lambda entry: entry[1] <= now, self._dao_due.items())]
        for peer in late:
            del self._dao_due[peer]
        explanation = f"the DAO challenge was not answered in {DAO_CHALLENGE_TIMEOUT_S:.0f} s"
        return [ChallengeFailed(peer, Offence.DAO_TIMEOUT, explanation) for peer in late]

    def _ask(self, peer: PeerId, number: int) -> AskHeader:
        request_id = self._next_id()
        self._open[request_id] = (peer, number)
        self._open_of.setdefault(peer, set()).add(request_id)
        return AskHeader(request_id, peer, number)

    def _close(self, request_id: int) -> tuple[PeerId, int] | None:
        """The peer and the number that a question is about; None when it is not open."""
        entry = self._open.pop(request_id, None)
        if entry is not None:
            open_of = self._open_of[entry[0]]
            open_of.discard(request_id)
            if not open_of:
                del self._open_of[entry[0]]
        return entry

    def _judge_dao(self, fork: DaoFork, answer: Header | None, *, peer_reaches_fork: bool) -> str | None:
        if answer is None:
            return "no DAO fork block, though its total difficulty is past it" if peer_reaches_fork else None
        if answer.number != fork.block:
            return f"block {answer.number} in answer to the DAO challenge for block {fork.block}"
        if (answer.extra_data == DAO_FORK_EXTRA_DATA) != fork.support:
            return "its DAO fork block is of the other side of the fork"
        return None

    def _judge_whitelist(self, number: int, answer: Header) -> str | None:
        wanted = self._whitelist.get(number)
        if wanted is None or (answer.number == number and answer.hash == wanted):
            return None
        return f"whitelisted block {number} is 0x{answer.hash.hex()} there, 0x{wanted.hex()} here"
