from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.peer_gateway.core.address_rules import THROTTLE_S, InboundThrottle, is_lan, source_of
from services.shared.chainspec.net_restrict import NetRestrict


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7"),
        *("::1", "fe80::1", "fd12::9", "::ffff:10.0.0.1", "fe80::1%eth0"),
    ],
)
def test_loopback_and_local_addresses_are_lan(host: str):
    assert is_lan(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "172.32.0.1", "192.169.0.1", "2001:db8::1", "::ffff:8.8.8.8", "a.lan", ""])
def test_other_addresses_and_names_are_not_lan(host: str):
    assert not is_lan(host)


def test_netrestrict_allows_what_is_in_one_of_its_networks():
    rules = NetRestrict.parse("10.0.0.0/8, 203.0.113.7,fd00::/8")
    assert all(map(rules.allows, ("10.9.9.9", "203.0.113.7", "fd00::1", "::ffff:10.0.0.1")))
    assert not any(map(rules.allows, ("11.0.0.1", "203.0.113.8", "fe80::1", "node.example", "")))


@pytest.mark.parametrize(
    ("text", "entry"), [("10.0.0.0/33", "10.0.0.0/33"), ("10.0.0.0/8,x", "x"), ("", ""), ("1.2.3.4,", "")]
)
def test_netrestrict_that_is_no_list_of_networks_is_refused_by_entry(text: str, entry: str):
    with pytest.raises(ValueError, match=f"'{entry}' is not a network"):
        NetRestrict.parse(text)


def test_address_that_comes_again_within_the_throttle_is_turned_away():
    throttle = InboundThrottle()
    assert throttle.admits("203.0.113.7", now=0.0)
    assert not throttle.admits("203.0.113.7", now=THROTTLE_S - 0.1)
    assert throttle.admits("203.0.113.8", now=1.0)
    # Trying in vain does not lengthen the wait.
    assert throttle.admits("203.0.113.7", now=THROTTLE_S)
    assert not throttle.admits("203.0.113.7", now=THROTTLE_S + 1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.9", "::1", "fd00::1"])
def test_loopback_and_local_addresses_are_not_throttled(host: str):
    throttle = InboundThrottle()
    assert all(throttle.admits(host, now=0.0) for _ in range(100))
    assert len(throttle) == 0


def test_ipv6_addresses_of_one_customer_are_one_source():
    throttle = InboundThrottle()
    assert throttle.admits("2001:db8:0:1::1", now=0.0)
    assert not throttle.admits("2001:db8:0:1:ffff::2", now=1.0)
    assert throttle.admits("2001:db8:0:2::1", now=1.0)
    assert source_of("::ffff:203.0.113.7") == source_of("203.0.113.7")


def test_throttle_forgets_the_oldest_address_when_there_are_too_many():
    throttle = InboundThrottle(most=3)
    hosts = [f"203.0.113.{number}" for number in range(5)]
    assert all(throttle.admits(host, now=0.0) for host in hosts)
    assert len(throttle) == 3
    assert throttle.admits(hosts[0], now=1.0)
    assert not throttle.admits(hosts[4], now=1.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=300))
def test_no_address_is_admitted_twice_within_the_throttle_in_any_order(arrivals: list[tuple[int, float]]):
    throttle, now, admitted = InboundThrottle(), 0.0, dict[int, float]()
    for number, passed in arrivals:
        now += passed
        expected = now - admitted.get(number, -THROTTLE_S) >= THROTTLE_S
        assert throttle.admits(f"203.0.113.{number}", now) is expected
        if expected:
            admitted[number] = now
        assert len(throttle) <= 31
