import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.seal_sampling import FORCED_BELOW_PIVOT, STRIDE, sample
from tests.support.ruled_chain import GENESIS

BATCH = 2048


def batch(first, count):
    return [GENESIS._replace(number=number) for number in range(first, first + count)]


def numbers(headers):
    return [header.number for header in headers]


def test_one_random_header_of_each_hundred_is_checked_and_the_last():
    chosen = numbers(sample(batch(1, BATCH), random.Random(7), None))
    assert [(number - 1) // STRIDE for number in chosen[:-1]] == list(range(20))
    assert chosen[-1] == BATCH
    assert len({(number - 1) % STRIDE for number in chosen}) > 10


def test_every_header_is_chosen_sooner_or_later():
    rng = random.Random(7)
    headers = batch(1, STRIDE)
    chosen = {number for _ in range(2000) for number in numbers(sample(headers, rng, None))}
    assert chosen == set(numbers(headers))


def test_equal_seeds_choose_equal_headers():
    headers = batch(1, BATCH)
    assert sample(headers, random.Random(3), None) == sample(headers, random.Random(3), None)
    assert sample(headers, random.Random(3), None) != sample(headers, random.Random(4), None)


@pytest.mark.parametrize(("pivot", "all_are_checked"), [(BATCH + 23, True), (BATCH + 24, False), (0, True), (1, True)])
def test_whole_batch_is_checked_when_it_ends_within_twenty_four_blocks_of_the_pivot(pivot, all_are_checked):
    headers = batch(1, BATCH)
    chosen = sample(headers, random.Random(7), pivot)
    assert (chosen == headers) is all_are_checked


def test_no_header_is_chosen_of_an_empty_batch():
    assert sample([], random.Random(7), None) == sample([], random.Random(7), 5) == []


@given(
    first=st.integers(1, 10_000),
    count=st.integers(1, BATCH),
    seed=st.integers(),
    pivot=st.none() | st.integers(0, 13_000),
)
def test_sample_is_ordered_ends_with_the_last_and_leaves_no_hundred_out(first, count, seed, pivot):
    headers = batch(first, count)
    chosen = sample(headers, random.Random(seed), pivot)
    assert chosen[-1] == headers[-1]
    assert all(left.number < right.number for left, right in pairwise(chosen))
    if pivot is not None and headers[-1].number + FORCED_BELOW_PIVOT > pivot:
        assert chosen == headers
    else:
        assert len(chosen) <= count // STRIDE + 1
        for start in range(0, count - STRIDE + 1, STRIDE):
            window = headers[start : start + STRIDE]
            assert sum(header in window for header in chosen[:-1]) + (chosen[-1] in window) in {1, 2}
