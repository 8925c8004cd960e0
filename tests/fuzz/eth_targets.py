"""Decoders of chain contents: the eth messages of both versions, headers, bodies, receipts, RLP slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import rlp

from services.peer_gateway.core.eth_session import EthSession
from services.peer_gateway.core.request_book import Request, RequestBook, confirm
from services.shared.ethwire.bodies import (
    body_roots,
    receipt_totals,
    split_block,
    transaction_items,
    uncle_headers,
)
from services.shared.ethwire.eth_messages import ETH_VERSIONS, decode_message, encode_message
from services.shared.ethwire.faults import MalformedRlp, PeerFault
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.headers import decode_header, encode_header, place_of
from services.shared.ethwire.limits import MAX_HASHES_READ
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
    Status,
    Transactions,
)
from services.shared.ethwire.rlp_slices import encode_string, join_list, split_list
from services.shared.ethwire.types import Announce, BlockHash
from tests.fuzz.target import Target
from tests.support.chain_maker import made_chain

_QUESTIONS = (GetBlockBodies, GetReceipts, GetNodeData)
RECEIPT = join_list([b"\x01", b"\x82\x52\x08", b"\xb9\x01\x00" + bytes(256), b"\xc0"])
VALUES = [b"value", bytes(40), b""]
TYPED = b"\xb8\x41\x02\xf8\x3e" + bytes(0x3E)


def eth_targets() -> Iterator[Target]:
    """One target for each message of each version, and those for what the messages carry."""
    for version in ETH_VERSIONS:
        samples = dict(map(partial(encode_message, version), sample_messages(version)))
        for code, codec in ETH_VERSIONS[version].codecs.items():
            yield Target(
                f"eth{version}-{codec.name}",
                partial(_decode_and_encode, version, code),
                (PeerFault,),
                [samples[code]],
            )
        yield Target(f"eth{version}-session", partial(_session, version), (PeerFault,), [script_of([*samples.items()])])
    chain = made_chain(12)
    headers = [header.header_rlp for header in chain.headers]
    bodies = [body.body_rlp for body in chain.bodies]
    yield Target("header", _header, (MalformedRlp,), headers[:4])
    yield Target("body", _body, (MalformedRlp,), [*bodies[:6], join_list([join_list([TYPED]), join_list(headers[:1])])])
    yield Target(
        "receipts",
        _receipts,
        (MalformedRlp,),
        [b"\xc0", join_list([RECEIPT] * 3), join_list([encode_string(b"\x02" + RECEIPT)])],
    )
    yield Target("block", split_block, (MalformedRlp,), [join_list([headers[1], *split_list(bodies[1])])])
    yield Target("rlp", _against_the_oracle, (MalformedRlp,), [headers[1], bodies[1], RECEIPT])


def sample_messages(version: int) -> Sequence[EthMessage]:
    """Each message once, with something in it."""
    chain = made_chain(12)
    headers = [header.header_rlp for header in chain.headers[1:4]]
    bodies = [body.body_rlp for body in chain.bodies[1:4]]
    hashes = [header.hash for header in chain.headers[1:4]]
    messages: list[EthMessage] = [
        Status(version, 1, 2**70, hashes[0], hashes[1]),
        NewBlockHashes([Announce(BlockHash(value), 10**6) for value in hashes]),
        Transactions([*split_list(split_list(bodies[0])[0]), TYPED]),
        GetBlockHeaders(hashes[0], 192, 1, True),
        BlockHeaders(headers),
        GetBlockBodies(hashes),
        BlockBodies(bodies),
        NewBlock(headers[0], bodies[0], 2**70),
    ]
    if version >= 63:
        messages += [
            GetNodeData([*hashes]),
            NodeData(VALUES),
            GetReceipts(hashes),
            Receipts([b"\xc0", join_list([RECEIPT] * 2)]),
        ]
    return messages


def _decode_and_encode(version: int, code: int, payload: bytes) -> None:
    """What is accepted is canonical: it is what we would have sent for it."""
    message = decode_message(version, code, payload)
    if not (isinstance(message, _QUESTIONS) and len(message.hashes) == MAX_HASHES_READ):
        assert encode_message(version, message) == (code, payload), "another encoding of the same message"
    match message:
        case BlockHeaders(items):
            digests = b"".join(map(keccak256, items))
            confirm(GetBlockHeaders(1, 192, 0, False), items, digests)
        case NodeData(items):
            confirm(GetNodeData([keccak256(value) for value in VALUES]), items, b"".join(map(keccak256, items)))
        case BlockBodies(items):
            for item in items:
                body_roots(item)
        case Receipts(items):
            for item in items:
                receipt_totals(item)
        case NewBlock():
            decode_header(message.header_rlp)
            body_roots(message.body_rlp)
        case _:
            pass


def _session(version: int, script: bytes) -> None:
    """Any messages in any order, some of them asked for."""
    chain = made_chain(12)
    hashes = [header.hash for header in chain.headers[1:4]]
    session, book = EthSession(version, Status(version, 1, 17, hashes[0], hashes[1]), 0.0), RequestBook()
    values = [keccak256(value) for value in VALUES]
    asked: list[Request] = [GetBlockHeaders(1, 3, 0, False), GetBlockBodies(hashes), GetReceipts(hashes)]
    for number, request in enumerate([*asked, GetNodeData(values)]):
        book.ask(number, request, 0.0)
    for code, payload in messages_of(script):
        message = session.receive(code, payload)
        if isinstance(message, BlockHeaders | BlockBodies | Receipts | NodeData):
            answered = book.answer(message)
            if answered is not None:
                confirm(answered.request, message[0], b"".join(map(keccak256, message[0])))


def script_of(messages: Sequence[tuple[int, bytes]]) -> bytes:
    """Messages in a form that survives being changed anywhere: code, two bytes of length, payload."""
    return b"".join(bytes((code,)) + len(payload).to_bytes(2) + payload for code, payload in messages)


def messages_of(script: bytes) -> Iterator[tuple[int, bytes]]:
    """The inverse of `script_of`, for any bytes."""
    at = 0
    while at < len(script):
        end = at + 3 + int.from_bytes(script[at + 1 : at + 3])
        yield script[at], script[at + 3 : end]
        at = end


def _header(encoded: bytes) -> None:
    header = decode_header(encoded)
    assert encode_header(header) == encoded, "another encoding of the same header"
    assert place_of(encoded) == (header.parent_hash, header.number)


def _body(encoded: bytes) -> None:
    body_roots(encoded)
    transaction_items(encoded)
    uncle_headers(encoded)


def _receipts(encoded: bytes) -> None:
    receipt_totals(encoded)


def _against_the_oracle(encoded: bytes) -> None:
    """What the `rlp` package reads we read alike. It looks deeper, so it may refuse what is fine so far."""
    try:
        expected = rlp.decode(encoded, strict=True)
    except (rlp.DecodingError, RecursionError):
        expected = b""
    try:
        items = split_list(encoded)
    except MalformedRlp:
        assert not isinstance(expected, list), "we refuse what is canonical"
        raise
    if isinstance(expected, list):
        assert [rlp.encode(item) for item in expected] == items
