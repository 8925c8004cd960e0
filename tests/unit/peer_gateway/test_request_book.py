from __future__ import annotations

import pytest

from services.peer_gateway.core.request_book import (
    ANSWER_PATIENCE_S,
    MAX_OUTSTANDING,
    Asked,
    Reply,
    ReplyMismatch,
    Request,
    RequestBook,
    StoppedAnswering,
    TooManyOutstanding,
    confirm,
)
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.headers import with_hash
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
from services.shared.ethwire.types import BlockHash, Header

REQUESTS: list[Request] = [GetBlockHeaders(5, 10, 0, False), GetBlockBodies([]), GetReceipts([]), GetNodeData([])]
EMPTY_REPLIES: list[Reply] = [BlockHeaders([]), BlockBodies([]), Receipts([]), NodeData([])]


def make_chain(length: int, extra_data: bytes = b"") -> list[Header]:
    """Linked headers from number 0 on."""
    parent_hash, chain = bytes(32), []
    for number in range(length):
        header = Header(
            BlockHash(b""), BlockHash(parent_hash), bytes(32), bytes(20), bytes(32), bytes(32), bytes(32), bytes(256),
            131072, number, 5000, 0, number * 15, extra_data, bytes(32), bytes(8), None, b"",
        )  # fmt: skip
        chain.append(with_hash(header))
        parent_hash = chain[-1].hash
    return chain


CHAIN, OTHER_CHAIN = make_chain(200), make_chain(200, b"other")


def check(request: GetBlockHeaders, headers: list[Header]) -> None:
    confirm(request, [header.header_rlp for header in headers], b"".join(header.hash for header in headers))


def headers_request(
    origin: BlockHash | int, amount: int = 10, skip: int = 0, *, reverse: bool = False
) -> GetBlockHeaders:
    return GetBlockHeaders(origin, amount, skip, reverse)


def test_replies_of_one_kind_answer_its_questions_in_the_order_asked():
    book, one, two = RequestBook(), headers_request(1), headers_request(2)
    book.ask(71, one, 10.0)
    book.ask(72, two, 11.0)
    assert book.answer(BlockHeaders([])) == Asked(71, one, 10.0)
    assert book.answer(BlockHeaders([])) == Asked(72, two, 11.0)
    assert book.answer(BlockHeaders([])) is None


def test_kinds_do_not_wait_for_each_other():
    book = RequestBook()
    for request_id, request in enumerate(REQUESTS):
        book.ask(request_id, request, 0.0)
    for request_id in (3, 1, 0, 2):
        asked = book.answer(EMPTY_REPLIES[request_id])
        assert asked is not None
        assert asked.request_id == request_id


@pytest.mark.parametrize("reply", EMPTY_REPLIES, ids=lambda reply: type(reply).__name__)
def test_a_reply_is_unasked_when_nothing_was_asked(reply):
    assert RequestBook().answer(reply) is None


def test_what_was_not_answered_is_outstanding():
    book = RequestBook()
    book.ask(1, headers_request(1), 0.0)
    book.ask(2, GetBlockBodies([]), 0.0)
    book.answer(BlockHeaders([]))
    assert [asked.request_id for asked in book.outstanding()] == [2]


def test_a_peer_that_stopped_answering_is_asked_no_more():
    book = RequestBook()
    for request_id in range(MAX_OUTSTANDING):
        book.ask(request_id, headers_request(1), 0.0)
    with pytest.raises(TooManyOutstanding):
        book.ask(1000, headers_request(1), 0.0)
    book.ask(1001, GetBlockBodies([]), 0.0)
    assert len(book.outstanding()) == MAX_OUTSTANDING + 1


def test_a_peer_that_owes_too_many_replies_for_too_long_is_useless():
    book = RequestBook()
    for request_id in range(MAX_OUTSTANDING):
        book.ask(request_id, headers_request(1), 100.0)
    with pytest.raises(TooManyOutstanding):
        book.ask(1000, headers_request(1), 100.0 + ANSWER_PATIENCE_S - 0.1)
    with pytest.raises(StoppedAnswering) as raised:
        book.ask(1000, headers_request(1), 100.0 + ANSWER_PATIENCE_S)
    assert raised.value.disconnect_reason is DisconnectReason.USELESS_PEER


def test_a_peer_that_answers_slowly_is_kept():
    book = RequestBook()
    for request_id in range(1000):
        if request_id >= MAX_OUTSTANDING:
            assert book.answer(BlockHeaders([])) is not None
        book.ask(request_id, headers_request(1), 10.0 * request_id)


@pytest.mark.parametrize("skip", [0, 1, 7])
@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("is_by_hash", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_headers_that_answer_the_question_are_confirmed(skip, count, is_by_hash, reverse):
    step = -(skip + 1) if reverse else skip + 1
    headers = [CHAIN[100 + index * step] for index in range(count)]
    origin = CHAIN[100].hash if is_by_hash else 100
    check(headers_request(origin, 10, skip, reverse=reverse), headers)


@pytest.mark.parametrize(
    "request_",
    [headers_request(5), GetBlockBodies([]), GetReceipts([]), GetNodeData([])],
    ids=lambda r: type(r).__name__,
)
def test_an_empty_reply_may_answer_any_question(request_):
    confirm(request_, [], b"")


@pytest.mark.parametrize(
    ("request_", "headers"),
    [
        pytest.param(headers_request(5, 1), CHAIN[5:7], id="more than asked"),
        pytest.param(headers_request(5), CHAIN[6:9], id="another number"),
        pytest.param(headers_request(CHAIN[5].hash), CHAIN[6:9], id="another hash"),
        pytest.param(headers_request(OTHER_CHAIN[5].hash), CHAIN[5:9], id="the same number of another chain"),
        pytest.param(headers_request(5), [CHAIN[5], CHAIN[7]], id="a gap"),
        pytest.param(headers_request(5), [CHAIN[5], OTHER_CHAIN[6]], id="no link"),
        pytest.param(headers_request(5, reverse=True), CHAIN[5:7], id="the other direction"),
        pytest.param(headers_request(5, reverse=True), [CHAIN[5], OTHER_CHAIN[4]], id="no link backwards"),
        pytest.param(headers_request(5, skip=1), CHAIN[5:7], id="no skip"),
        pytest.param(headers_request(5), [CHAIN[5], CHAIN[5]], id="one twice"),
    ],
)
def test_headers_that_do_not_answer_the_question_are_the_peers_fault(request_, headers):
    with pytest.raises(ReplyMismatch) as raised:
        check(request_, headers)
    assert raised.value.disconnect_reason is DisconnectReason.USELESS_PEER
    assert raised.value.request == request_


@pytest.mark.parametrize(
    "item", [b"\xc0", b"\x80", b"\xc1\x80", CHAIN[5].header_rlp[:-1], b"\xf9\x01\xf0" + bytes(0x1F0)]
)
def test_an_item_that_is_no_header_is_the_peers_fault(item):
    with pytest.raises(ReplyMismatch):
        confirm(headers_request(5), [item], keccak256(item))


@pytest.mark.parametrize("kind", [GetBlockBodies, GetReceipts])
def test_bodies_and_receipts_are_at_most_as_many_as_asked(kind):
    request = kind([CHAIN[1].hash, CHAIN[2].hash])
    confirm(request, [b"\xc0"], b"")
    confirm(request, [b"\xc0"] * 2, b"")
    with pytest.raises(ReplyMismatch):
        confirm(request, [b"\xc0"] * 3, b"")


def test_node_data_has_only_hashes_that_were_asked_for():
    values = [b"one", b"two", b"three"]
    hashes = [keccak256(value) for value in values]
    confirm(GetNodeData(hashes), values[1:], b"".join(hashes[1:]))
    with pytest.raises(ReplyMismatch):
        confirm(GetNodeData(hashes[:2]), values[1:], b"".join(hashes[1:]))
    with pytest.raises(ReplyMismatch):
        confirm(GetNodeData(hashes[:1]), values[:2], b"".join(hashes[:2]))
