"""Who is led past gRPC, by which filter, and what is answered there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.diversion_filter import (
    GRPCS,
    JUMP_IF_EQUAL,
    LOAD_BYTE,
    LOAD_WORD,
    NETWORK_HEADER,
    OURS,
    RETURN,
    SHIFT_RIGHT,
    Instruction,
    diversion_filter,
)
from services.sync_coordinator.core.offenders import (
    CALM_S,
    DIVERT_AFTER,
    MOST_DIVERTED,
    MOST_WATCHED,
    WINDOW_S,
    Offenders,
)
from services.sync_coordinator.core.refusing_http2 import (
    ACK,
    DATA,
    END_STREAM_AND_HEADERS,
    HEADERS,
    MOST_FRAMES_AT_ONCE,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    NotHttp2,
    RefusingConnection,
    frame,
    refusal_headers,
)
from services.sync_coordinator.edges.call_guard import client_of
from services.sync_coordinator.edges.diversion import address_key

CALM = 40.0

PEER = "ipv4:192.0.2.1:5000"


def diverted(offenders: Offenders, address: str, now: float) -> None:
    cut = [offenders.refused(address, PEER, now) for _ in range(DIVERT_AFTER)]
    assert cut == [frozenset()] * (DIVERT_AFTER - 1) + [{PEER}]


def test_address_is_diverted_once_it_was_refused_often_within_a_window():
    offenders = Offenders(CALM)
    diverted(offenders, "192.0.2.1", 5.0)
    assert list(offenders.diverted) == ["192.0.2.1"]
    assert not offenders.refused("192.0.2.1", PEER, 5.1)


def test_only_connections_whose_calls_were_refused_in_the_window_are_cut():
    offenders = Offenders(CALM)
    # Of a client that was refused once, long ago; its port may be another's by now.
    assert not offenders.refused("192.0.2.1", "ipv4:192.0.2.1:4000", 0.0)
    peers = [f"ipv4:192.0.2.1:{5000 + count % 3}" for count in range(DIVERT_AFTER)]
    *before, cut = [offenders.refused("192.0.2.1", peer, WINDOW_S) for peer in peers]
    assert not any(before)
    assert cut == set(peers)
    # A connection that stayed with gRPC, and begins to hammer only now.
    *before, cut = [offenders.refused("192.0.2.1", "ipv4:192.0.2.1:6000", 2 * WINDOW_S) for _ in range(DIVERT_AFTER)]
    assert not any(before)
    assert cut == {"ipv4:192.0.2.1:6000"}


def test_address_that_is_refused_now_and_then_is_not_diverted():
    offenders = Offenders(CALM)
    step = 1.01 * WINDOW_S / (DIVERT_AFTER - 1)
    assert not any(offenders.refused("192.0.2.1", PEER, count * step) for count in range(100 * DIVERT_AFTER))


def test_diverted_address_comes_back_when_it_is_calm_and_not_before():
    offenders = Offenders(CALM)
    diverted(offenders, "192.0.2.1", 0.0)
    offenders.called("192.0.2.1", 1000)
    assert offenders.release(CALM_S - 0.1) == []
    assert offenders.release(CALM_S) == []
    offenders.called("192.0.2.1", int(CALM * CALM_S) + 1)
    assert offenders.release(2 * CALM_S) == []
    offenders.called("192.0.2.1", int(CALM * CALM_S))
    assert offenders.release(3 * CALM_S) == ["192.0.2.1"]
    assert not offenders.diverted


def test_tables_are_bounded():
    offenders = Offenders(CALM)
    for number in range(MOST_DIVERTED):
        diverted(offenders, str(number), 0.0)
    assert not any(offenders.refused("one more", PEER, 0.0) for _ in range(2 * DIVERT_AFTER))
    assert len(offenders.diverted) == MOST_DIVERTED
    for number in range(2 * MOST_WATCHED):
        offenders.refused(f"new {number}", PEER, 1.0)
    assert len(offenders._refusals) == MOST_WATCHED


def run_filter(program: list[Instruction], packet: bytes) -> int:
    """What the kernel answers, by the meaning of the instructions that are used."""
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        start = value - NETWORK_HEADER
        match code:
            case _ if code == LOAD_WORD:
                accumulator = int.from_bytes(packet[start : start + 4], "big")
            case _ if code == LOAD_BYTE:
                accumulator = packet[start]
            case _ if code == SHIFT_RIGHT:
                accumulator >>= value
            case _ if code == JUMP_IF_EQUAL:
                assert max(if_true, if_false) < 256
                at += if_true if accumulator == value else if_false
            case _ if code == RETURN:
                return value
            case _:
                raise AssertionError(code)


def packet_from(address: IPv4Address | IPv6Address) -> bytes:
    """An IP header with this source."""
    if isinstance(address, IPv4Address):
        return bytes([0x45]) + bytes(11) + address.packed + bytes(4)
    return bytes([0x60]) + bytes(7) + address.packed + bytes(16)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(addresses, max_size=MOST_DIVERTED), addresses)
def test_filter_gives_us_the_diverted_addresses_and_grpc_all_others(
    wanted: list[IPv4Address | IPv6Address], other: IPv4Address | IPv6Address
):
    program = diversion_filter(wanted)
    assert {run_filter(program, packet_from(one)) for one in wanted} <= {OURS}
    # All of an IPv4 address, the first half of an IPv6 one.
    is_wanted = any(one.version == other.version and one.packed[:8] == other.packed[:8] for one in wanted)
    assert run_filter(program, packet_from(other)) == (OURS if is_wanted else GRPCS)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "2001:db8:1:2:3:4:5:6"])
def test_addresses_are_named_as_the_guard_names_clients(host: str):
    shown = f"ipv6:[{host}]:5" if ":" in host else f"ipv4:{host}:5"
    assert client_of(shown, {}).partition(":")[2] == address_key(host)
    assert ip_address("::ffff:192.0.2.1").version == 6
    assert address_key("::ffff:192.0.2.1") == "192.0.2.1"


ANSWER = refusal_headers(8, "no", b"details")


def greeting() -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0, bytes(6)) + frame(SETTINGS, ACK, 0, b"")


def test_every_call_is_answered_by_the_status_whatever_its_request():
    http2 = RefusingConnection(ANSWER)
    sent, calls = http2.receive(greeting())
    assert (sent, calls) == (frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b""), 0)
    asked = frame(HEADERS, 0x4, 1, b"?" * 50) + frame(DATA, 0x1, 1, bytes(5)) + frame(HEADERS, 0x4, 3, b"?")
    sent, calls = http2.receive(asked)
    assert calls == 2
    assert sent == frame(HEADERS, END_STREAM_AND_HEADERS, 1, ANSWER) + frame(HEADERS, END_STREAM_AND_HEADERS, 3, ANSWER)
    assert http2.receive(frame(PING, 0, 0, b"12345678")) == (frame(PING, ACK, 0, b"12345678"), 0)
    assert http2.receive(frame(PING, ACK, 0, b"12345678")) == (b"", 0)


def test_window_is_filled_up_again_as_it_is_used():
    http2 = RefusingConnection(ANSWER)
    http2.receive(greeting())
    sent = b"".join(http2.receive(frame(DATA, 0, 1, bytes(10_000)))[0] for _ in range(4))
    assert sent == 2 * frame(WINDOW_UPDATE, 0, 0, (20_000).to_bytes(4, "big"))


@given(st.lists(st.integers(1, 40), max_size=40))
def test_pieces_of_any_size_are_answered_as_the_whole(sizes: list[int]):
    whole = greeting() + b"".join(frame(HEADERS, 0x4, stream, b"???") for stream in (1, 3, 5))
    expected = RefusingConnection(ANSWER).receive(whole)
    http2, sent, calls, at = RefusingConnection(ANSWER), b"", 0, 0
    for size in [*sizes, len(whole)]:
        answer, refused = http2.receive(whole[at : at + size])
        sent, calls, at = sent + answer, calls + refused, at + size
    assert (sent, calls) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n",
        PREFACE + b"\xff\xff\xff" + bytes(6),
        PREFACE + (MOST_FRAMES_AT_ONCE + 1) * frame(DATA, 0, 1, b""),
    ],
    ids=["http1", "size", "frames"],
)
def test_what_is_no_http2_ends_the_connection(content: bytes):
    with pytest.raises(NotHttp2):
        RefusingConnection(ANSWER).receive(content)
