"""Our wire cores against an independent implementation, each side dialling the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import rlp

from services.peer_gateway.core.devp2p import Capability
from services.peer_gateway.core.eth_session import GenesisMismatch, NetworkIdMismatch, StatusRefused
from services.peer_gateway.core.events import Disconnected
from services.shared.ethwire.faults import DisconnectReason
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
    Transactions,
)
from services.shared.ethwire.types import Announce, BlockHash
from tests.interop.links import Dialler, GreetedLink, StartJs, greet, linked, our_status
from tests.interop.our_peer import CLIENT_NAME
from tests.interop.real_chain import real_chain

pytestmark = pytest.mark.interop

WRONG_HASH: Final = BlockHash(bytes(32))
HASHES: Final = (BlockHash(b"\x11" * 32), BlockHash(b"\xfe" * 32))
LONG_VALUE: Final = bytes(range(256)) * 40
TRANSACTION: Final = [
    b"\x09",
    b"\x04\xa8",
    b"\x52\x08",
    b"\x35" * 20,
    b"\x0d\xe0",
    LONG_VALUE,
    b"\x25",
    b"\x28",
    b"\x67",
]
RECEIPT: Final = [b"\x01", b"\x52\x08", bytes(256), [[b"\x35" * 20, [HASHES[0]], b""]]]


def block_256() -> NewBlock:
    chain = real_chain()
    return NewBlock(chain.head.header_rlp, chain.bodies_rlp[-1], chain.total_difficulty)


MESSAGES_OF_62: Final[dict[str, EthMessage]] = {
    "NEW_BLOCK_HASHES": NewBlockHashes([Announce(HASHES[0], 0), Announce(HASHES[1], 2**64 - 1)]),
    "TRANSACTIONS": Transactions([rlp.encode(TRANSACTION)] * 3),
    "NEW_BLOCK": block_256(),
}
MESSAGES_OF_63: Final[dict[str, EthMessage]] = {
    "GET_NODE_DATA": GetNodeData(list(HASHES)),
    "NODE_DATA": NodeData([b"", b"\x01", LONG_VALUE]),
    "GET_RECEIPTS": GetReceipts(list(HASHES)),
    "RECEIPTS": Receipts([rlp.encode([RECEIPT, RECEIPT]), rlp.encode([])]),
}


def nested_hex(item: Any) -> Any:
    """Decoded RLP as the npm peer prints it."""
    return item.hex() if isinstance(item, bytes) else [nested_hex(part) for part in item]


def decoded(message: EthMessage) -> Any:
    """What `message` holds, read by the `rlp` package; the shapes are those of devp2p `caps/eth.md`."""
    match message:
        case NewBlockHashes(announces):
            return [[entry.block_hash, rlp.sedes.big_endian_int.serialize(entry.number)] for entry in announces]
        case NewBlock(header_rlp, body_rlp, total_difficulty):
            block = [rlp.decode(header_rlp), *rlp.decode(body_rlp)]
            return [block, rlp.sedes.big_endian_int.serialize(total_difficulty)]
        case GetNodeData(items) | NodeData(items) | GetReceipts(items):
            return items
        case Transactions(items) | Receipts(items) | BlockHeaders(items) | BlockBodies(items):
            return [rlp.decode(item) for item in items]
    raise AssertionError(message)


@pytest.fixture(scope="module", params=Dialler, ids=lambda dialler: dialler.name.lower() + "-dials")
def dialler(request: pytest.FixtureRequest) -> Dialler:
    return Dialler(request.param)


@pytest.fixture(scope="module", params=[62, 63], ids=["eth62", "eth63"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def link(js_peer: StartJs, dialler: Dialler, version: int) -> Iterator[GreetedLink]:
    """One connection for all tests that leave it open. We offer both versions, the npm peer one."""
    with linked(js_peer, dialler, "--eth", str(version)) as fresh:
        yield greet(fresh)


def test_hello_agrees_on_eth_and_snappy_when_both_sides_greet(link: GreetedLink, version: int) -> None:
    assert link.heard_ready.eth_version == version
    assert link.heard_ready.hello.version == 5
    assert link.heard_ready.hello.capabilities == (Capability("eth", version),)
    assert link.heard_ready.hello.node_id == link.js_node_id == link.ours.connection.remote_id
    assert link.ours.connection.is_compressed
    assert link.js_heard_hello["p2p_version"] == 5
    assert link.js_heard_hello["client_name"] == CLIENT_NAME
    assert link.js_heard_hello["capabilities"] == [["eth", 62], ["eth", 63]]
    assert link.js_heard_hello["eth_version"] == version


def test_status_arrives_unchanged_when_sent_either_way(link: GreetedLink, version: int) -> None:
    status = our_status(protocol_version=version)
    assert link.heard_status == status
    assert link.js_heard_status == {
        "event": "status",
        "network_id": str(status.network_id),
        "total_difficulty": str(status.total_difficulty),
        "head_hash": status.head_hash.hex(),
        "genesis_hash": status.genesis_hash.hex(),
    }


@pytest.mark.parametrize(
    ("request_of_ours", "numbers"),
    [
        (GetBlockHeaders(1, 192, 0, False), range(1, 193)),
        (GetBlockHeaders(0, 3, 99, False), range(0, 201, 100)),
        (GetBlockHeaders(real_chain().headers[9].hash, 20, 1, True), range(9, -1, -2)),
        (GetBlockHeaders(256, 5, 0, False), range(256, 257)),
        (GetBlockHeaders(257, 1, 0, False), range(0)),
        (GetBlockHeaders(WRONG_HASH, 1, 0, False), range(0)),
    ],
    ids=["full-reply", "skip", "reverse-by-hash", "end-of-chain", "above-head", "unknown-hash"],
)
def test_header_request_of_ours_is_answered_when_asked(
    link: GreetedLink, request_of_ours: GetBlockHeaders, numbers: range
) -> None:
    link.ours.send(request_of_ours)
    reply = link.ours.expect(BlockHeaders)
    assert reply.headers_rlp == [real_chain().headers[number].header_rlp for number in numbers]


def test_body_request_of_ours_is_answered_when_asked(link: GreetedLink) -> None:
    chain = real_chain()
    link.ours.send(GetBlockBodies([header.hash for header in chain.headers[1:129]]))
    assert link.ours.expect(BlockBodies).bodies_rlp == list(chain.bodies_rlp[1:129])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (["01", "c0", "", ""], GetBlockHeaders(1, 192, 0, False)),
        (["", "02", "63", ""], GetBlockHeaders(0, 2, 99, False)),
    ],
    ids=["full-reply", "genesis-and-skip"],
)
def test_its_header_request_is_answered_when_asked(
    link: GreetedLink, payload: list[str], expected: GetBlockHeaders
) -> None:
    link.js.send("GET_BLOCK_HEADERS", payload)
    request_of_js = link.ours.expect(GetBlockHeaders)
    assert request_of_js == expected
    answer = real_chain().answer_headers(request_of_js)
    link.ours.send(answer)
    assert link.js.expect("message", name="BLOCK_HEADERS")["payload"] == nested_hex(decoded(answer))


def test_its_header_request_by_hash_is_understood_when_reverse(link: GreetedLink) -> None:
    link.js.send("GET_BLOCK_HEADERS", [HASHES[1].hex(), "c0", "0f", "01"])
    assert link.ours.expect(GetBlockHeaders) == GetBlockHeaders(HASHES[1], 192, 15, True)
    link.ours.send(BlockHeaders([]))
    assert link.js.expect("message", name="BLOCK_HEADERS")["payload"] == []


def test_its_body_request_is_answered_when_asked(link: GreetedLink) -> None:
    hashes = [header.hash for header in real_chain().headers[1:129]]
    link.js.send("GET_BLOCK_BODIES", nested_hex(hashes))
    request_of_js = link.ours.expect(GetBlockBodies)
    assert request_of_js.hashes == hashes
    answer = real_chain().answer_bodies(request_of_js)
    link.ours.send(answer)
    assert link.js.expect("message", name="BLOCK_BODIES")["payload"] == nested_hex(decoded(answer))


@pytest.mark.parametrize("name", [*MESSAGES_OF_62, *MESSAGES_OF_63])
def test_other_message_is_read_alike_or_withheld_when_its_version_has_it_or_not(
    link: GreetedLink, version: int, name: str
) -> None:
    if version == 62 and name in MESSAGES_OF_63:
        with pytest.raises(ValueError, match="eth/62 has no"):
            link.ours.send(MESSAGES_OF_63[name])
        return
    message = (MESSAGES_OF_62 | MESSAGES_OF_63)[name]
    link.ours.send(message)
    content = link.js.expect("message", name=name)["payload"]
    assert content == nested_hex(decoded(message))
    link.js.send(name, content)
    assert link.ours.expect(type(message)) == message


@pytest.mark.parametrize(
    ("js_options", "our_fault", "js_fault"),
    [
        (("--network-id", "5"), NetworkIdMismatch, "NetworkId mismatch"),
        (("--genesis-hash", WRONG_HASH.hex()), GenesisMismatch, "Genesis block mismatch"),
    ],
    ids=["network-id", "genesis"],
)
def test_both_ends_refuse_the_status_when_chains_differ(
    js_peer: StartJs, dialler: Dialler, js_options: tuple[str, ...], our_fault: type[StatusRefused], js_fault: str
) -> None:
    with linked(js_peer, dialler, *js_options) as fresh:
        ended = fresh.ours.expect(Disconnected)
        assert fresh.js.expect("error")["text"].startswith(js_fault)
    assert ended.reason is DisconnectReason.SUBPROTOCOL_ERROR
    assert isinstance(fresh.ours.fault, our_fault)


def test_its_reason_is_known_when_it_leaves(js_peer: StartJs, dialler: Dialler) -> None:
    with linked(js_peer, dialler) as fresh:
        greet(fresh)
        fresh.js.disconnect(DisconnectReason.TOO_MANY_PEERS)
        ended = fresh.ours.expect(Disconnected)
    assert (ended.reason, ended.by_us) == (DisconnectReason.TOO_MANY_PEERS, False)


def test_our_reason_is_known_when_we_leave(js_peer: StartJs, dialler: Dialler) -> None:
    with linked(js_peer, dialler) as fresh:
        greet(fresh)
        fresh.ours.disconnect(DisconnectReason.USELESS_PEER)
        assert fresh.js.expect("disconnected", by_js=False)["reason"] == DisconnectReason.USELESS_PEER


def test_it_is_useless_to_us_when_only_a_later_eth_is_offered(js_peer: StartJs) -> None:
    with linked(js_peer, Dialler.OURS, "--eth", "68") as fresh:
        ended = fresh.ours.expect(Disconnected)
    assert ended.reason is DisconnectReason.USELESS_PEER
