import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.base_fee import expected_base_fee, gas_limit_before
from tests.support.chain_vectors import headers_of

PARENT = headers_of("sepolia")[0]


def parent_with(**changes):
    return PARENT._replace(**changes)


@pytest.mark.parametrize(
    ("base_fee", "gas_limit", "gas_used", "expected"),
    [
        (1_000_000_000, 20_000_000, 10_000_000, 1_000_000_000),
        (1_000_000_000, 20_000_000, 9_000_000, 987_500_000),
        (1_000_000_000, 20_000_000, 11_000_000, 1_012_500_000),
        (1_000_000_000, 20_000_000, 0, 875_000_000),
        (7, 20_000_000, 20_000_000, 8),
        (7, 20_000_000, 0, 7),
        (0, 20_000_000, 20_000_000, 1),
        (None, 8_000_000, 8_000_000, 1_000_000_000),
    ],
)
def test_base_fee_follows_the_parents_fill(base_fee, gas_limit, gas_used, expected):
    parent = parent_with(base_fee=base_fee, gas_limit=gas_limit, gas_used=gas_used)
    assert expected_base_fee(parent) == expected


def test_fork_block_doubles_the_gas_limit_it_is_measured_against():
    assert gas_limit_before(parent_with(base_fee=None, gas_limit=100)) == 200
    assert gas_limit_before(parent_with(base_fee=1, gas_limit=100)) == 100


@given(st.integers(0, 2**70), st.integers(5000, 2**63 - 1), st.floats(0, 1))
def test_base_fee_moves_by_at_most_an_eighth(base_fee, gas_limit, fill):
    gas_used = min(int(gas_limit * fill), gas_limit)
    after = expected_base_fee(parent_with(base_fee=base_fee, gas_limit=gas_limit, gas_used=gas_used))
    assert abs(after - base_fee) <= max(1, base_fee * 2 // 8)
    assert after >= base_fee - base_fee // 8
