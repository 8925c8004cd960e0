"""The short profile: every target with its samples, with changed ones, and with what long runs have found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import corpus_of
from tests.fuzz.mutations import MOST_BYTES, mutate, parse, render
from tests.fuzz.targets import all_targets

TARGETS = all_targets()
INPUTS_PER_EXAMPLE = 10


@pytest.mark.parametrize("name", TARGETS)
def test_the_samples_are_accepted(name):
    for sample in TARGETS[name].samples:
        TARGETS[name].decode(sample)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_changed_samples_are_accepted_or_refused_as_documented(name, seed):
    target, rng = TARGETS[name], random.Random(seed)
    for _ in range(INPUTS_PER_EXAMPLE):
        target.check(mutate(rng.choice([*target.samples, *corpus_of(target)]), target.samples, rng))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=15, deadline=None)
@given(tried=st.binary(max_size=400))
def test_any_bytes_are_accepted_or_refused_as_documented(name, tried):
    TARGETS[name].check(tried)


@pytest.mark.parametrize("name", TARGETS)
def test_what_long_runs_kept_is_accepted_or_refused_as_documented(name):
    for tried in corpus_of(TARGETS[name]):
        TARGETS[name].check(tried)


@given(seed=st.integers(0, 2**32))
def test_mutations_change_most_samples_and_stay_within_the_size(seed):
    rng, samples = random.Random(seed), TARGETS["eth63-BlockBodies"].samples
    changed = [mutate(samples[0], samples, rng) for _ in range(20)]
    assert sum(each != samples[0] for each in changed) > 10
    assert max(map(len, changed)) <= MOST_BYTES
    assert render(parse(samples[0])) == samples[0]
