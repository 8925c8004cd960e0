"""Every verdict of the doctor, with bob's core at the other end."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.peer_gateway.core.chain_names import DaoFork, ExpectedChain, expected_network
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.devp2p import BaseCode, Capability, Hello, encode_disconnect
from services.peer_gateway.core.diagnosis import Diagnosis, Dial
from services.peer_gateway.core.findings import no_common_eth
from services.peer_gateway.core.interview import MOST_ANSWERS
from services.peer_gateway.core.verdicts import MEANING_OF, Outcome, StepName, Unreachable, Verdict
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    NewBlockHashes,
    Status,
)
from services.shared.ethwire.types import BlockHash, Header
from tests.support.chain_vectors import headers_of
from tests.support.diagnosed_peer import ADDRESS, Answer, DiagnosedPeer
from tests.support.small_network import NETWORK_ID, chain_blocks, peer_chain
from tests.support.wire import ALICE, BOB, MALLORY, byte_by_byte, local_node

CHAIN = peer_chain(chain_blocks(3))
EXPECTED = ExpectedChain("genesis.json", NETWORK_ID, CHAIN.headers[0].hash)
DAO_BLOCK = 1_920_000

S = StepName
WHOLE_WAY = [S.TCP, S.RLPX, S.HELLO, S.CAPABILITIES, S.STATUS, S.PING, S.HEAD]


def serving(headers: Iterable[Header]) -> Answer:
    """Bob has these headers."""
    known: dict[BlockHash | int, Header] = {}
    for header in headers:
        known[header.hash] = known[header.number] = header

    def answer(message: EthMessage) -> EthMessage | None:
        match message:
            case GetBlockHeaders(origin):
                return BlockHeaders([known[origin].header_rlp] if origin in known else [])
        return None

    return answer


def greeting(status: Status, answer: Answer | None = None, **options: Any) -> DiagnosedPeer:
    """Bob after his Status, which he says without waiting for alice's, as every client does."""
    peer = DiagnosedPeer(answer or serving(CHAIN.headers), **options).connect()
    peer.say(status._replace(protocol_version=peer.version))
    return peer.settle()


HONEST = CHAIN.status(NETWORK_ID)


@pytest.mark.parametrize("expected", [None, EXPECTED])
def test_honest_peer_works_whether_its_chain_is_named_or_not(expected):
    peer = greeting(HONEST, expected=expected)
    assert peer.report.verdict is Verdict.WORKS
    assert peer.passed == WHOLE_WAY
    assert {step.outcome for step in peer.report.steps} == {Outcome.OK}
    facts = peer.report.facts
    assert (facts.address, facts.client_name, facts.snappy, facts.eth_version) == (ADDRESS, "bob", True, 63)
    assert (facts.network_id, facts.genesis_hash, facts.network) == (NETWORK_ID, HONEST.genesis_hash, None)
    assert (facts.head_number, facts.head_hash, facts.total_difficulty) == (
        3,
        HONEST.head_hash,
        HONEST.total_difficulty,
    )
    assert "its head is block 3" in peer.report.explanation


def test_peer_is_told_that_we_quit_and_that_we_have_only_its_genesis():
    peer = greeting(HONEST)
    [ours] = [message for message in peer.heard if isinstance(message, Status)]
    assert ours == Status(63, NETWORK_ID, 1, HONEST.genesis_hash, HONEST.genesis_hash)
    assert peer.bob.is_closed
    assert peer.diagnosis.next_wakeup() is None


def test_bytes_that_come_one_by_one_give_the_same_report():
    assert greeting(HONEST, cut=byte_by_byte).report == greeting(HONEST).report


def test_old_client_works_without_snappy_and_with_eth_62():
    peer = greeting(HONEST, bob=local_node("bob", p2p_version=4, eth_versions=(62,)))
    assert peer.report.verdict is Verdict.WORKS
    assert (peer.report.facts.snappy, peer.report.facts.p2p_version, peer.report.facts.eth_version) == (False, 4, 62)


def test_steps_are_told_once_and_as_they_end():
    peer = DiagnosedPeer(expected=EXPECTED)
    peer.diagnosis.connected(ADDRESS, 100.25)
    assert [(step.name, step.seconds) for step in peer.diagnosis.take_steps()] == [(S.TCP, 0.25)]
    assert peer.diagnosis.take_steps() == []
    peer.settle()
    assert [step.name for step in peer.diagnosis.take_steps()] == [S.RLPX, S.HELLO, S.CAPABILITIES]


@pytest.mark.parametrize("problem", Unreachable)
def test_unreachable_node_is_told_in_words(problem):
    diagnosis = Diagnosis(Dial(local=ALICE, node=Enode(BOB.node_id, "bob.example", 1, 1)), random.Random(1).randbytes)
    diagnosis.start(0.0)
    if problem is not Unreachable.NOT_RESOLVED:
        diagnosis.resolved(["192.0.2.7"], 1.0)
    diagnosis.unreachable(problem, "192.0.2.7:1", "a word of the system", 3.0)
    assert diagnosis.report is not None
    assert diagnosis.report.verdict is problem.value
    assert "192.0.2.7:1" in diagnosis.report.explanation
    last = diagnosis.report.steps[-1]
    expected = (S.RESOLVE, 3.0) if problem is Unreachable.NOT_RESOLVED else (S.TCP, 2.0)
    assert ((last.name, last.seconds), last.outcome) == (expected, Outcome.FAILED)


def test_node_with_another_key_than_the_url_hangs_up_and_the_key_is_blamed():
    peer = DiagnosedPeer(claimed=MALLORY).connect()
    assert peer.report.verdict is Verdict.RLPX_HANGUP
    assert "compare the node id" in peer.report.explanation


def test_silence_after_the_tcp_connection_is_a_time_out():
    peer = DiagnosedPeer()
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.diagnosis.data_to_send()
    peer.wait(4.9)
    assert peer.diagnosis.report is None
    peer.wait(0.2)
    assert peer.report.verdict is Verdict.RLPX_SILENT


@pytest.mark.parametrize(
    ("banner", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "as an SSH server would"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "as an HTTP server would"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "as a TLS server would"),
        (b"\x1b[31m hello", "11 bytes that begin with"),
    ],
)
@pytest.mark.parametrize("ends", ["hangs up", "keeps still"])
def test_port_that_speaks_something_else_is_no_rlpx(banner, words, ends):
    peer = DiagnosedPeer()
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.diagnosis.receive_data(banner, peer.now)
    if ends == "hangs up":
        peer.diagnosis.receive_eof(peer.now)
    else:
        peer.diagnosis.data_to_send()
        peer.wait(6)
    assert peer.report.verdict is Verdict.NOT_RLPX
    assert words in peer.report.explanation
    assert "\x1b" not in peer.report.explanation


def test_long_garbage_is_no_rlpx_at_once():
    peer = DiagnosedPeer()
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.diagnosis.receive_data(bytes(500), peer.now)
    assert peer.report.verdict is Verdict.NOT_RLPX
    assert "500 bytes" in peer.report.explanation


def test_hello_of_another_node_is_an_identity_mismatch():
    class Liar(LocalNode):
        def hello(self) -> Hello:
            return replace(LocalNode.hello(self), node_id=MALLORY.node_id)

    peer = DiagnosedPeer(bob=Liar(key=BOB.key, client_name="bob", listen_port=1)).connect()
    assert peer.report.verdict is Verdict.IDENTITY_MISMATCH
    assert peer.passed == [S.TCP, S.RLPX, S.HELLO]


def test_no_hello_in_time_is_told():
    peer = DiagnosedPeer()
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.bob.receive_data(peer.diagnosis.data_to_send(), peer.now)
    ack_and_hello = peer.bob.data_to_send()
    peer.diagnosis.receive_data(ack_and_hello[: 2 + int.from_bytes(ack_and_hello[:2])], peer.now)
    peer.diagnosis.data_to_send()
    peer.wait(6)
    assert peer.report.verdict is Verdict.NO_HELLO
    assert peer.passed == [S.TCP, S.RLPX, S.HELLO]


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        ([("eth", 66), ("eth", 67), ("snap", 1)], "eth/66, eth/67: a client from after 2021"),
        ([("eth", 68)], "eth/68: a client from after 2021"),
        ([("eth", 64), ("eth", 65)], "a client from after 2019"),
        ([("eth", 60), ("eth", 61)], "it speaks eth/60, eth/61; trisync speaks eth/62 and eth/63"),
        ([("les", 2), ("\x1b[2J", 1)], "no eth at all, only ?[2J/1, les/2"),
        ([], "only nothing"),
    ],
)
def test_no_common_version_of_eth_names_what_the_peer_speaks(capabilities, words):
    offered = tuple(Capability(*capability) for capability in capabilities)

    class Newer(LocalNode):
        def hello(self) -> Hello:
            return replace(LocalNode.hello(self), capabilities=offered)

    peer = DiagnosedPeer(bob=Newer(key=BOB.key, client_name="bob", listen_port=1)).connect()
    assert peer.report.verdict is Verdict.NO_COMMON_ETH
    assert words in peer.report.explanation
    assert peer.passed == [S.TCP, S.RLPX, S.HELLO, S.CAPABILITIES]
    assert peer.report.facts.client_name == "bob"


def test_hundreds_of_capabilities_are_not_all_told():
    assert len(no_common_eth(Capability("x" * 1000, number) for number in range(500))) < 3000


def leaving_first(content: bytes) -> DiagnosedPeer:
    """Bob sends a Disconnect with this content instead of his Hello."""
    peer = DiagnosedPeer(expected=EXPECTED)
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.bob._send = lambda *_: Connection._send(peer.bob, BaseCode.DISCONNECT, content)  # type: ignore[method-assign]
    return peer.settle()


def leaving(reason: DisconnectReason, stage: StepName) -> DiagnosedPeer:
    """Bob leaves for `reason` where his next word should be of `stage`."""
    if stage is S.HELLO:
        return leaving_first(encode_disconnect(reason))
    peer = DiagnosedPeer(expected=EXPECTED).connect()
    if stage is S.HEAD:
        peer.say(HONEST._replace(protocol_version=63))
        peer.settle()
    peer.bob._send(BaseCode.DISCONNECT, encode_disconnect(reason))
    return peer.settle()


OWN_VERDICT = {
    DisconnectReason.TOO_MANY_PEERS: Verdict.TOO_MANY_PEERS,
    DisconnectReason.ALREADY_CONNECTED: Verdict.ALREADY_CONNECTED,
    DisconnectReason.CONNECTED_TO_SELF: Verdict.CONNECTED_TO_SELF,
}


@pytest.mark.parametrize("reason", DisconnectReason)
@pytest.mark.parametrize(
    ("stage", "words"), [(S.HELLO, "before its Hello"), (S.STATUS, "before its Status"), (S.HEAD, "after its Status")]
)
def test_peer_that_leaves_is_told_with_its_reason_and_what_to_do(reason, stage, words):
    peer = leaving(reason, stage)
    assert peer.report.verdict is OWN_VERDICT.get(reason, Verdict.DISCONNECTED)
    assert words in peer.report.explanation
    assert MEANING_OF[reason] in peer.report.explanation
    assert peer.report.facts.disconnect_reason == reason.name.lower()
    assert peer.report.steps[-1].outcome is Outcome.FAILED


def test_reason_that_nobody_knows_is_told_by_its_number():
    peer = leaving_first(b"\xc1\x2a")
    assert peer.report.verdict is Verdict.DISCONNECTED
    assert "42" in peer.report.explanation


def test_peer_that_hangs_up_where_its_status_should_come_is_told():
    peer = DiagnosedPeer(expected=EXPECTED).connect()
    peer.diagnosis.receive_eof(peer.now)
    assert peer.report.verdict is Verdict.HUNG_UP
    assert "its Status" in peer.report.explanation


@pytest.mark.parametrize("expected", [None, EXPECTED])
def test_no_status_in_time_is_told(expected):
    peer = DiagnosedPeer(expected=expected).connect()
    peer.wait(4.9)
    assert peer.diagnosis.report is None
    peer.wait(0.2)
    assert peer.report.verdict is Verdict.NO_STATUS


def test_other_message_than_status_first_breaks_the_protocol():
    peer = DiagnosedPeer().connect()
    peer.say(NewBlockHashes([]))
    assert peer.settle().report.verdict is Verdict.BROKE_PROTOCOL
    assert "NoStatusFirst" in peer.report.explanation


def test_other_genesis_is_told_with_the_name_of_the_network():
    mainnet = expected_network("mainnet")
    status = HONEST._replace(network_id=5, genesis_hash=expected_network("goerli").genesis_hash)
    peer = greeting(status, expected=mainnet)
    assert peer.report.verdict is Verdict.OTHER_GENESIS
    assert "goerli (network id 5)" in peer.report.explanation
    assert "`--network goerli`" in peer.report.explanation
    unknown = greeting(HONEST, expected=mainnet)
    assert f"unknown genesis 0x{HONEST.genesis_hash.hex()}" in unknown.report.explanation


def test_other_network_id_is_told():
    peer = greeting(HONEST._replace(network_id=7), expected=EXPECTED)
    assert peer.report.verdict is Verdict.WRONG_NETWORK
    assert "network id 7, that of mordor" in peer.report.explanation
    assert "network id 1337" in peer.report.explanation


def test_status_of_another_version_is_told():
    peer = DiagnosedPeer(expected=EXPECTED).connect()
    peer.say(HONEST._replace(protocol_version=62))
    assert peer.settle().report.verdict is Verdict.PROTOCOL_VERSION_MISMATCH


def test_undecodable_message_breaks_the_protocol():
    peer = DiagnosedPeer().connect()
    peer.bob.send_message(0, b"\xc3\x01\x02\x03")
    assert peer.settle().report.verdict is Verdict.BROKE_PROTOCOL


@pytest.mark.parametrize("headers", [[], None])
def test_head_that_is_not_served_is_told(headers):
    peer = greeting(HONEST, serving(headers) if headers is not None else lambda _: None)
    peer.wait(0 if headers is not None else 11)
    assert peer.report.verdict is Verdict.HEAD_NOT_SERVED
    assert peer.passed == WHOLE_WAY
    assert peer.bob.is_closed


def test_another_header_than_the_head_breaks_the_protocol():
    def answer(message: EthMessage) -> EthMessage | None:
        return BlockHeaders([CHAIN.headers[1].header_rlp]) if isinstance(message, GetBlockHeaders) else None

    assert greeting(HONEST, answer).report.verdict is Verdict.BROKE_PROTOCOL


def test_ping_without_a_pong_is_noted_and_the_head_still_asked_for():
    peer = DiagnosedPeer(serving(CHAIN.headers)).connect()
    peer.bob._answer_ping = lambda: None  # type: ignore[method-assign]
    peer.say(HONEST._replace(protocol_version=63))
    peer.settle().wait(11)
    assert peer.report.verdict is Verdict.WORKS
    assert [step.outcome for step in peer.report.steps if step.name is S.PING] == [Outcome.NOTE]
    assert peer.report.facts.ping_s is None


def at_dao_fork(network: str) -> tuple[Status, list[Header]]:
    """A peer of mainnet or classic with its head on the fork block's own or a later block."""
    own = {header.number: header for header in headers_of("mainnet")}
    if network == "classic":
        own |= {header.number: header for header in headers_of("classic")}
    fork, genesis = own[DAO_BLOCK], expected_network(network).genesis_hash
    return Status(0, 1, 10**20, fork.hash, genesis), [fork]


@pytest.mark.parametrize("network", ["mainnet", "classic"])
@pytest.mark.parametrize("asked", ["mainnet", "classic", None])
def test_side_of_the_dao_fork_names_the_chain(network, asked):
    status, headers = at_dao_fork(network)
    peer = greeting(status, serving(headers), expected=None if asked is None else expected_network(asked))
    assert peer.passed == [*WHOLE_WAY, S.DAO]
    assert peer.report.verdict is (Verdict.WORKS if asked in (None, network) else Verdict.WRONG_DAO_SIDE)
    assert peer.report.facts.network == network
    assert peer.report.facts.dao_fork_support is (network == "mainnet")


@pytest.mark.parametrize("silent", [False, True])
def test_dao_fork_that_is_not_answered_leaves_the_side_open(silent):
    status, [fork] = at_dao_fork("mainnet")

    def answer(message: EthMessage) -> EthMessage | None:
        match message:
            case GetBlockHeaders(origin):
                return BlockHeaders([fork.header_rlp]) if origin == fork.hash else None if silent else BlockHeaders([])
        return None

    peer = greeting(status, answer).wait(11)
    assert peer.report.verdict is Verdict.WORKS
    assert peer.report.steps[-1].outcome is Outcome.NOTE
    assert peer.report.facts.network == "mainnet or classic"


def test_other_block_than_the_dao_forks_breaks_the_protocol():
    status, [fork] = at_dao_fork("mainnet")

    def answer(message: EthMessage) -> EthMessage | None:
        match message:
            case GetBlockHeaders(origin):
                header = fork if origin == fork.hash else CHAIN.headers[2]
                return BlockHeaders([header.header_rlp])
        return None

    assert greeting(status, answer).report.verdict is Verdict.BROKE_PROTOCOL


def test_head_below_the_dao_fork_is_said_to_be():
    mainnet = expected_network("mainnet")
    expected = replace(mainnet, genesis_hash=HONEST.genesis_hash, dao_fork=DaoFork(4, support=True))
    peer = greeting(HONEST._replace(network_id=1), expected=expected)
    assert peer.report.verdict is Verdict.WORKS
    assert "below the DAO fork at 4" in peer.report.steps[-1].text


def test_questions_of_the_peer_are_answered_empty_and_not_for_ever():
    peer = DiagnosedPeer(expected=EXPECTED).connect()
    peer.say(HONEST._replace(protocol_version=63))
    for _ in range(MOST_ANSWERS + 5):
        peer.say(GetBlockBodies([HONEST.head_hash]))
    peer.settle()
    assert [message for message in peer.heard if isinstance(message, BlockBodies)] == MOST_ANSWERS * [BlockBodies([])]


def test_interrupted_dial_takes_leave():
    peer = DiagnosedPeer(expected=EXPECTED).connect()
    peer.diagnosis.interrupt(peer.now)
    assert peer.settle().report.verdict is Verdict.INTERRUPTED
    assert peer.bob.is_closed


def test_text_of_a_peer_cannot_rule_the_terminal():
    peer = greeting(HONEST, bob=local_node("bob", client_name="\x1b[2JGeth\n\u202e" + "x" * 200))
    assert peer.report.facts.client_name == "?[2JGeth??" + "x" * 70


def test_every_verdict_is_in_the_docs():
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    assert [verdict for verdict in Verdict if f"`{verdict}`" not in page] == []
