from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.peer_gateway.core.pending_places import FAIR_SHARE, PendingPlaces, Verdict


def full(places: int, host: str) -> PendingPlaces[int]:
    """All places taken from one address, by the connections 0, 1, 2 …"""
    pending: PendingPlaces[int] = PendingPlaces(places)
    for number in range(places):
        assert pending.take(number, host) == Verdict(is_taken=True)
    return pending


def test_one_address_may_use_every_free_place():
    pending = full(50, "10.0.0.1")
    assert len(pending) == 50


def test_newcomer_gets_the_oldest_place_of_an_address_that_holds_too_many():
    pending = full(8, "10.0.0.1")
    assert pending.take(100, "10.0.0.2") == Verdict(is_taken=True, evicted=0)
    pending.release(0)  # its end is told afterwards, and frees nothing twice
    assert pending.take(101, "203.0.113.7") == Verdict(is_taken=True, evicted=1)
    assert len(pending) == 8


def test_address_that_holds_all_places_gets_no_more():
    pending = full(8, "10.0.0.1")
    assert pending.take(100, "10.0.0.1") == Verdict(is_taken=False)


def test_places_that_are_fairly_shared_are_nobodys_to_take():
    pending: PendingPlaces[int] = PendingPlaces(4)
    for number in range(4):
        pending.take(number, f"203.0.113.{number}")
    assert pending.take(100, "203.0.113.99") == Verdict(is_taken=False)


def test_addresses_of_one_ipv6_network_are_one_source():
    pending = full(4, "2001:db8::1")
    assert pending.take(100, "2001:db8::2") == Verdict(is_taken=False)
    assert pending.take(100, "2001:db8:1::2") == Verdict(is_taken=True, evicted=0)


def test_place_is_free_again_when_the_handshakes_are_over():
    pending = full(2, "10.0.0.1")
    pending.release(0)
    pending.release(0)
    assert pending.take(100, "10.0.0.1") == Verdict(is_taken=True)


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=80))
def test_places_are_never_exceeded_and_nobody_falls_below_a_fair_share(places: int, events: list[tuple[int, bool]]):
    pending: PendingPlaces[int] = PendingPlaces(places)
    host_of: dict[int, str] = {}
    for number, (address, comes) in enumerate(events):
        host = f"10.0.0.{address}"
        if comes:
            verdict = pending.take(number, host)
            if verdict.evicted is not None:
                loser = host_of.pop(verdict.evicted)
                assert loser != host
                assert list(host_of.values()).count(loser) + 1 > places / FAIR_SHARE
            if verdict.is_taken:
                host_of[number] = host
        elif host_of:
            oldest = next(iter(host_of))
            del host_of[oldest]
            pending.release(oldest)
        assert set(pending) == set(host_of)
        assert len(pending) <= places
