import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.chainspec.networks import network
from services.sync_coordinator.core.ethash_epochs import EthashEpoch, epoch_at

FORKS = {"classic": 11_700_000, "mordor": 2_520_000}


@pytest.mark.parametrize("ecip1099_block", [None, 30_000, 90_000])
def test_epoch_changes_every_thirty_thousand_blocks_before_the_switch(ecip1099_block):
    assert epoch_at(0, ecip1099_block) == epoch_at(29_999, ecip1099_block) == EthashEpoch(0, 0, range(30_000))


def test_epoch_changes_every_thirty_thousand_blocks_where_there_is_no_switch():
    assert [epoch_at(number, None).size_epoch for number in (30_000, 59_999, 60_000)] == [1, 1, 2]
    assert epoch_at(7_000_000, None) == EthashEpoch(233, 233, range(6_990_000, 7_020_000))


@pytest.mark.parametrize(("name", "fork"), FORKS.items())
def test_sizes_are_halved_and_seeds_go_on_at_the_switch(name, fork):
    switch = network(name).spec.ecip1099_block
    assert switch == fork
    before, after = epoch_at(fork - 1, switch), epoch_at(fork, switch)
    assert before == EthashEpoch(fork // 30_000 - 1, fork // 30_000 - 1, range(fork - 30_000, fork))
    assert after == EthashEpoch(fork // 60_000, fork // 30_000, range(fork, fork + 60_000))
    assert before.is_ordinary
    assert not after.is_ordinary


@given(switch=st.none() | st.integers(1, 400_000), first=st.integers(0, 500_000))
def test_epochs_follow_each_other_without_gap_and_no_seed_comes_twice(switch, first):
    epochs = [epoch_at(first, switch)]
    for _ in range(5):
        epochs.append(epoch_at(epochs[-1].blocks.stop, switch))
    assert first in epochs[0].blocks
    for left, right in itertools.pairwise(epochs):
        assert left.blocks.stop == right.blocks.start
        assert all(epoch_at(number, switch) == right for number in (right.blocks[0], right.blocks[-1]))
        # A switch in the middle of an epoch leaves both halves their seed.
        assert left.seed_epoch < right.seed_epoch or right.blocks.start == switch
