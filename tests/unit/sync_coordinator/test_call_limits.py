"""The limits of the operator API, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.call_limits import (
    BURST_S,
    CLIENTS_WORTH,
    MOST_CALLS_OPEN,
    MOST_CALLS_OPEN_IN_ALL,
    MOST_CLIENTS,
    MOST_STREAMS_OPEN,
    MOST_STREAMS_OPEN_IN_ALL,
    SHARE_OF,
    CallClass,
    CallLimits,
    Rate,
    TokenBucket,
)
from services.sync_coordinator.edges.call_guard import client_of
from services.sync_coordinator.edges.operator_methods import ORDERS, SERVICES, SUBMISSIONS, operator_methods

RATE = 40.0


def admitted(limits: CallLimits, client: str, kind: CallClass, times: list[float]) -> int:
    """How many of these calls pass, each ended at once."""
    passed = 0
    for now in times:
        if limits.admit(client, kind, now) is None:
            limits.done(client, kind)
            passed += 1
    return passed


def test_client_has_its_burst_and_then_its_rate():
    limits = CallLimits(RATE)
    offered = [index / 500 for index in range(500 * 10)]
    assert admitted(limits, "mallory", CallClass.READ, offered) == pytest.approx(RATE * BURST_S + RATE * 10, abs=1)


def test_refusal_says_how_long_to_wait_and_waiting_so_long_is_enough():
    limits = CallLimits(RATE)
    excess = None
    while excess is None:
        excess = limits.admit("alice", CallClass.SUBMIT, 5.0)
        if excess is None:
            limits.done("alice", CallClass.SUBMIT)
    assert (excess.reason, excess.rule) == ("CLIENT_CALL_RATE", "20 submit calls a second")
    assert limits.admit("alice", CallClass.SUBMIT, 5.0 + excess.retry_after_s) is None


def test_flood_of_one_class_or_client_leaves_the_others_alone():
    limits = CallLimits(RATE)
    admitted(limits, "mallory", CallClass.READ, [0.0] * 10_000)
    assert limits.admit("mallory", CallClass.ORDER, 0.0) is None
    assert limits.admit("mallory", CallClass.PROBE, 0.0) is None
    assert limits.admit("alice", CallClass.READ, 0.0) is None


def test_strangers_do_not_use_up_what_clients_with_a_certificate_may():
    limits = CallLimits(RATE)
    for number in range(10):
        admitted(limits, f"ipv6:2001:db8:0:{number}", CallClass.READ, [0.0] * 100)
    for number in range(MOST_STREAMS_OPEN_IN_ALL):
        limits.admit(f"ipv4:192.0.2.{number % 8}", CallClass.STREAM, 0.0)
    stranger = limits.admit("ipv4:198.51.100.1", CallClass.READ, 0.0)
    assert stranger is not None
    assert stranger.reason == "TOTAL_CALL_RATE"
    assert admitted(limits, "name:alice", CallClass.READ, [0.0] * 100) == RATE * BURST_S
    assert limits.admit("name:alice", CallClass.STREAM, 0.0) is None


def test_all_clients_together_have_a_limit_too():
    limits = CallLimits(RATE)
    offered = [index / 500 for index in range(500 * 4)]
    passed = sum(admitted(limits, f"10.0.0.{host}", CallClass.READ, [now]) for now in offered for host in range(10))
    assert passed == pytest.approx(CLIENTS_WORTH * (RATE * BURST_S + RATE * 4), abs=2)
    excess = limits.admit("10.0.0.250", CallClass.READ, 3.999)
    assert excess is not None
    assert excess.reason == "TOTAL_CALL_RATE"


@pytest.mark.parametrize(
    ("kind", "own", "everybody"),
    [
        (CallClass.READ, MOST_CALLS_OPEN, MOST_CALLS_OPEN_IN_ALL),
        (CallClass.STREAM, MOST_STREAMS_OPEN, MOST_STREAMS_OPEN_IN_ALL),
    ],
)
def test_calls_open_at_once_are_bounded_and_an_end_makes_room(kind: CallClass, own: int, everybody: int):
    limits = CallLimits(0)
    clients = [f"10.0.0.{host}" for host in range(everybody // own + 1)]
    for client in clients[:-1]:
        assert [limits.admit(client, kind, 0.0) for _ in range(own)] == [None] * own
    first = limits.admit(clients[0], kind, 0.0)
    last = limits.admit(clients[-1], kind, 0.0)
    assert first is not None
    assert last is not None
    assert (first.reason.partition("_")[0], last.reason.partition("_")[0]) == ("CLIENT", "TOTAL")
    limits.done(clients[0], kind)
    assert limits.admit(clients[0], kind, 0.0) is None


def test_table_of_clients_is_bounded_and_forgets_none_with_something_open():
    limits = CallLimits(RATE)
    assert limits.admit("alice", CallClass.STREAM, 0.0) is None
    for host in range(3 * MOST_CLIENTS):
        admitted(limits, str(host), CallClass.READ, [float(host)])
    assert len(limits) == MOST_CLIENTS
    for second in range(MOST_STREAMS_OPEN - 1):
        assert limits.admit("alice", CallClass.STREAM, 1e6 + second) is None
    excess = limits.admit("alice", CallClass.STREAM, 2e6)
    assert excess is not None
    assert excess.reason == "CLIENT_STREAMS_OPEN"


def test_without_a_rate_calls_are_not_counted_in_time():
    assert admitted(CallLimits(0), "alice", CallClass.READ, [0.0] * 5000) == 5000


@given(st.lists(st.floats(-1, 5), max_size=200), st.floats(0.5, 100))
def test_bucket_gives_no_more_than_burst_and_rate_whatever_the_clock_does(steps: list[float], rate: float):
    bucket, now, forward, taken = TokenBucket(Rate(rate, 4.0), 0.0), 0.0, 0.0, 0
    for step in steps:
        now += step
        forward += max(0.0, step)
        if bucket.wait_s(now) == 0:
            bucket.take()
            taken += 1
    assert taken <= 4.0 + rate * forward + 1e-6


def test_every_class_has_a_share_of_at_most_all_reads():
    assert set(SHARE_OF) == set(CallClass)
    assert all(0 < share <= 1 for share in SHARE_OF.values())


def test_every_operator_method_has_a_class_and_orders_and_submissions_exist():
    methods = operator_methods()
    names = {method.name for service in SERVICES for method in service.methods}
    assert set(ORDERS) | set(SUBMISSIONS) <= names
    for service in SERVICES:
        for method in service.methods:
            described = methods[f"/{service.full_name}/{method.name}"]
            assert (described.kind is CallClass.STREAM) == method.server_streaming
    assert methods["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"].kind is CallClass.STREAM
    assert not any("GatewayLink" in path or "ChainReader" in path or "ChainWatch" in path for path in methods)


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.1:5000", "ipv4:192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "ipv6:2001:db8:1:2"),
        ("ipv6:[2001:db8::5]:5000", "ipv6:2001:db8:0:0"),
        ("ipv6:[::1]:5000", "ipv6:0:0:0:0"),
        ("ipv6:[::ffff:192.0.2.1]:5000", "ipv4:192.0.2.1"),
        ("unix:", ""),
        ("unix:/run/x.sock", ""),
    ],
)
def test_client_is_an_address_without_its_port(peer: str, client: str):
    assert client_of(peer, {}) == client


def test_client_with_a_certificate_is_its_name_from_wherever_it_calls():
    auth = {"x509_common_name": [b"alice"]}
    assert client_of("ipv4:192.0.2.1:5000", auth) == client_of("ipv4:192.0.2.9:1", auth) == "name:alice"
