"""The master's height and the common ancestor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.ancestor_search import AncestorSearch, span_question
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import SyncMode, SyncPhase
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.chain_maker import made_chain
from tests.support.memory_chain import MemoryChain

CONFIG = DownloaderConfig()
OURS = made_chain(300)


def search_against(ours, theirs, *, mode=SyncMode.FULL, config=CONFIG):
    chain = MemoryChain()
    if mode is SyncMode.FULL:
        chain.fill(ours)
    elif mode is SyncMode.FAST:
        chain.fill_headers(ours)
        chain.fill_fast(ours)
    else:
        chain.fill_headers(ours)
    return AncestorSearch(config, mode, chain, theirs.head.hash)


def answer(search, theirs):
    """What an honest master with this chain says."""
    origin, amount, step = search.question
    start = origin if isinstance(origin, int) else theirs.numbers[origin]
    search.on_reply(theirs.headers[start : start + amount * step : step])


def found(search, theirs):
    """The ancestor that comes out, and how many questions it took."""
    questions = 0
    while search.ancestor is None:
        answer(search, theirs)
        questions += 1
    return search.ancestor, questions


@pytest.mark.parametrize(
    ("remote", "local", "numbers"),
    [
        (1000, 500, list(range(823, 1000, 16))),
        (1000, 0, list(range(823, 1000, 16))),
        (120, 90, list(range(89, 120, 3))),
        (102, 100, [99, 101]),
        (101, 100, [98, 100]),
        (700, 700, [697, 699]),
        (400, 900, [397, 399]),
        (2, 0, [0, 2]),
        (0, 0, [0, 2]),
        (0, 900, [0, 2]),
    ],
)
def test_span_covers_what_lies_between_the_heads(remote, local, numbers):
    origin, amount, step = span_question(CONFIG, remote, local)
    assert isinstance(origin, int)
    assert list(range(origin, origin + amount * step, step)) == numbers


@given(remote=st.integers(0, 2**40), local=st.integers(0, 2**40))
def test_span_stays_within_its_limits(remote, local):
    origin, amount, step = span_question(CONFIG, remote, local)
    assert isinstance(origin, int)
    assert origin >= 0
    assert 2 <= amount <= CONFIG.span_probes
    assert CONFIG.span_step_min <= step <= CONFIG.span_step_max
    if remote > 2 * CONFIG.span_step_max * CONFIG.span_probes:
        assert origin + (amount - 1) * step == remote - 1


@pytest.mark.parametrize("mode", SyncMode)
@pytest.mark.parametrize("shared", [299, 300])
def test_ancestor_is_found_in_the_span_when_the_chains_split_late(mode, shared):
    theirs = OURS.shortened(shared).extended(310 - shared, branch=1)
    search = search_against(OURS, theirs, mode=mode)
    ancestor, questions = found(search, theirs)
    assert shared - CONFIG.span_step_min < ancestor.number <= shared
    assert ancestor.block_hash == OURS.headers[ancestor.number].hash
    assert questions == 2


@pytest.mark.parametrize("mode", SyncMode)
@pytest.mark.parametrize("shared", [0, 1, 2, 37, 250])
def test_newest_shared_block_is_found_by_binary_search_when_the_chains_split_early(mode, shared):
    theirs = OURS.shortened(shared).extended(310 - shared, branch=1)
    search = search_against(OURS, theirs, mode=mode)
    ancestor, questions = found(search, theirs)
    assert ancestor == (shared, OURS.headers[shared].hash)
    assert questions <= 2 + 9


def test_ancestor_is_genesis_when_we_have_nothing():
    ancestor, _ = found(search_against(made_chain(0), OURS), OURS)
    assert ancestor == (0, OURS.headers[0].hash)


def test_block_without_body_is_no_ancestor_in_full_mode():
    chain = MemoryChain()
    chain.fill_headers(OURS)
    search = AncestorSearch(CONFIG, SyncMode.FULL, chain, OURS.head.hash)
    ancestor, _ = found(search, OURS)
    assert ancestor.number == 0


def test_phase_and_height_follow_the_dialogue():
    search = search_against(made_chain(0), OURS)
    assert (search.phase, search.height) == (SyncPhase.HEIGHT, None)
    answer(search, OURS)
    assert (search.phase, search.height) == (SyncPhase.ANCESTOR, OURS.head)


@pytest.mark.parametrize("depth", [199, 200])
@pytest.mark.parametrize("shared", [100, 101])
def test_ancestor_is_refused_when_it_is_not_above_the_floor(depth, shared):
    theirs = OURS.shortened(shared).extended(250, branch=1)
    search = search_against(OURS, theirs, config=DownloaderConfig(max_fork_depth=depth))
    if shared > 300 - depth:
        ancestor, _ = found(search, theirs)
        assert ancestor.number == shared
    else:
        with pytest.raises(SyncFailed) as failed:
            found(search, theirs)
        assert failed.value.fault is SyncFault.INVALID_ANCESTOR


def headers(*numbers):
    return [OURS.headers[number] for number in numbers]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ([], SyncFault.BAD_PEER),
        (headers(300, 300), SyncFault.BAD_PEER),
        (headers(299), SyncFault.BAD_PEER),
    ],
    ids=["none", "two", "another"],
)
def test_peer_is_bad_when_its_height_is_not_the_one_header_asked(reply, fault):
    search = search_against(made_chain(0), OURS)
    with pytest.raises(SyncFailed) as failed:
        search.on_reply(reply)
    assert failed.value.fault is fault


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ([], SyncFault.EMPTY_HEADER_SET),
        (headers(122), SyncFault.INVALID_CHAIN),
        (headers(123, 140), SyncFault.INVALID_CHAIN),
        (headers(*range(123, 300, 16), 300), SyncFault.INVALID_CHAIN),
    ],
    ids=["none", "shifted", "wrong step", "too many"],
)
def test_span_is_refused_when_it_is_not_what_was_asked(reply, fault):
    search = search_against(made_chain(0), OURS)
    answer(search, OURS)
    assert search.question == (123, 12, 16)
    with pytest.raises(SyncFailed) as failed:
        search.on_reply(reply)
    assert failed.value.fault is fault


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ([], SyncFault.EMPTY_HEADER_SET),
        (headers(151), SyncFault.INVALID_CHAIN),
        (headers(150, 151), SyncFault.BAD_PEER),
    ],
    ids=["none", "another", "two"],
)
def test_probe_is_refused_when_it_is_not_what_was_asked(reply, fault):
    search = search_against(OURS.shortened(50).extended(250, branch=1), OURS)
    answer(search, OURS)
    answer(search, OURS)
    assert search.question == (150, 1, 1)
    with pytest.raises(SyncFailed) as failed:
        search.on_reply(reply)
    assert failed.value.fault is fault


@pytest.mark.parametrize("mode", SyncMode)
def test_nothing_is_searched_when_we_have_genesis_alone(mode):
    ancestor, questions = found(search_against(OURS.shortened(0), OURS, mode=mode), OURS)
    assert ancestor.number == 0
    assert questions == 2
