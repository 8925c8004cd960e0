"""What was asked of one peer, so that each reply can be told whose question it answers.

eth/62 and eth/63 have no request ids, but known clients answer a peer's questions of each kind in the
order asked, empty answers included. So the oldest outstanding question of the kind is the one answered,
and the content must agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.faults import MalformedRlp, PeerFault
from services.shared.ethwire.headers import place_of
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NodeData,
    Receipts,
)
from services.shared.ethwire.offences import Offence

MAX_OUTSTANDING: Final = 64
"""Questions of one kind that may wait for one peer, those nobody waits for any more included. An honest
peer has a few; one that reaches this has stopped answering."""

Request = GetBlockHeaders | GetBlockBodies | GetReceipts | GetNodeData
Reply = BlockHeaders | BlockBodies | Receipts | NodeData

ANSWER_OF: Final[Mapping[type[Request], type[Reply]]] = {
    GetBlockHeaders: BlockHeaders,
    GetBlockBodies: BlockBodies,
    GetReceipts: Receipts,
    GetNodeData: NodeData,
}
"""Which message answers which."""

_HASH_BYTES: Final = 32


ANSWER_PATIENCE_S: Final = 60.0
"""How old the oldest of `MAX_OUTSTANDING` questions must be for the peer to be useless: the coordinator waits for
no reply longer than this. A burst of questions alone proves nothing."""


class TooManyOutstanding(Exception):
    """The peer already owes `MAX_OUTSTANDING` replies of this kind: the question was not noted."""


class StoppedAnswering(PeerFault):
    """A peer that owes `MAX_OUTSTANDING` replies of a kind, the oldest for `ANSWER_PATIENCE_S`."""

    offence = Offence.STOPPED_ANSWERING

    def __init__(self, kind: type[Reply], waited_s: float) -> None:
        super().__init__(f"{MAX_OUTSTANDING} {kind.__name__} are owed, the first for {waited_s:.0f} s")
        self.kind, self.waited_s = kind, waited_s


class ReplyMismatch(PeerFault):
    """A reply that does not answer the question whose turn it is."""

    offence = Offence.REPLY_MISMATCH

    def __init__(self, request: Request, problem: str) -> None:
        super().__init__(f"the reply to {type(request).__name__} does not answer it: {problem}")
        self.request, self.problem = request, problem


class Asked(NamedTuple):
    """One question: the coordinator's id for it, what was asked, and when."""

    request_id: int
    request: Request
    asked_at: float


class RequestBook:
    """The questions one peer owes an answer to, first in first out for each kind.

    A question whose asker gave up keeps its place until it is answered, else every later reply would be
    taken for the one before it.
    """

    def __init__(self) -> None:
        self._owed: dict[type[Reply], deque[Asked]] = {kind: deque() for kind in ANSWER_OF.values()}

    def ask(self, request_id: int, request: Request, now: float) -> None:
        """Note a question, in the order they are sent. Raises TooManyOutstanding; then it must not be sent.

        Raises StoppedAnswering where that has lasted for so long that the peer is not worth its place.
        """
        kind = ANSWER_OF[type(request)]
        owed = self._owed[kind]
        if len(owed) >= MAX_OUTSTANDING:
            if now - owed[0].asked_at >= ANSWER_PATIENCE_S:
                raise StoppedAnswering(kind, now - owed[0].asked_at)
            raise TooManyOutstanding(f"the peer owes {MAX_OUTSTANDING} {kind.__name__} already")
        owed.append(Asked(request_id, request, now))

    def answer(self, reply: Reply) -> Asked | None:
        """The question that `reply` answers, struck out; None when it was not asked for.

        Caller's duty: to call this in the order replies arrive, and to `confirm` the content.
        """
        owed = self._owed[type(reply)]
        return owed.popleft() if owed else None

    def outstanding(self) -> Sequence[Asked]:
        """All questions without an answer: lost, once the peer is gone."""
        return [asked for owed in self._owed.values() for asked in owed]


def confirm(request: Request, items: Sequence[bytes], digests: bytes) -> None:
    """Check that a reply's items can be the answer to `request`. Raises ReplyMismatch.

    `digests` are the hashes of headers and node data, joined; bodies and receipts are judged by their
    roots where the headers are known. An empty reply always can be.
    """
    match request:
        case GetBlockHeaders():
            _confirm_headers(request, items, digests)
        case GetBlockBodies(hashes) | GetReceipts(hashes):
            _confirm_count(request, len(items), len(hashes))
        case GetNodeData(hashes):
            _confirm_count(request, len(items), len(hashes))
            wanted = set(hashes)
            for index in range(len(items)):
                if digests[index * _HASH_BYTES : (index + 1) * _HASH_BYTES] not in wanted:
                    raise ReplyMismatch(request, f"item {index} has a hash that was not asked for")


def _confirm_count(request: Request, received: int, asked: int) -> None:
    if received > asked:
        raise ReplyMismatch(request, f"{received} items, {asked} were asked for")


def _confirm_headers(request: GetBlockHeaders, headers_rlp: Sequence[bytes], hashes: bytes) -> None:
    """Start, distance and, where nothing is skipped, parent links are those asked for."""
    _confirm_count(request, len(headers_rlp), request.amount)
    step = -request.skip - 1 if request.reverse else request.skip + 1
    is_linked = request.skip == 0
    before_hash = before_parent = b""
    expected = 0
    for index, header_rlp in enumerate(headers_rlp):
        block_hash = hashes[index * _HASH_BYTES : (index + 1) * _HASH_BYTES]
        parent_hash, number = _parent_and_number(request, header_rlp)
        if index == 0:
            expected = number if isinstance(request.origin, bytes) else request.origin
            if isinstance(request.origin, bytes) and block_hash != request.origin:
                raise ReplyMismatch(request, f"it starts at block {block_hash[:8].hex()}…, not at the one asked for")
        elif is_linked and (before_parent != block_hash if request.reverse else parent_hash != before_hash):
            raise ReplyMismatch(request, f"header {index} does not link to the one before it")
        if number != expected:
            raise ReplyMismatch(request, f"header {index} has number {number}, not {expected}")
        expected += step
        before_hash, before_parent = block_hash, parent_hash


def _parent_and_number(request: Request, header_rlp: bytes) -> tuple[bytes, int]:
    """The two fields that place a header, read without decoding the others."""
    try:
        return place_of(header_rlp)
    except MalformedRlp as problem:
        raise ReplyMismatch(request, f"an item is not a header: {problem}") from problem
