"""kill -9 of coordinator and gateway at random moments of fast syncs: nothing is lost, nothing is fetched twice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.support.fast_chain import fast_chain
from tests.support.fast_chaos import ACCOUNTS, BLOCKS, KILLS_PER_SYNC, Disturbed, disturbed_sync
from tests.support.stack import in_one_loop

pytestmark = pytest.mark.integration

KILLS: Final = 10
"""`python -m tests.support.fast_chaos --kills 100` tries a hundred."""
SEED: Final = 3


@in_one_loop
async def test_fast_syncs_end_as_undisturbed_ones_when_services_are_killed_ten_times_on_the_way(tmp_path: Path) -> None:
    chain = fast_chain(BLOCKS, accounts=ACCOUNTS)
    rng = random.Random(SEED)
    syncs: list[Disturbed] = []
    while (killed := sum(len(sync.kills) for sync in syncs)) < KILLS:
        directory = tmp_path / str(len(syncs))
        directory.mkdir()
        syncs.append(await disturbed_sync(directory, chain, rng, min(KILLS_PER_SYNC, KILLS - killed)))
    for sync in syncs:
        assert sync.asked_again == 0
        assert sync.heads == sorted(sync.heads)
        assert sync.stored == sorted(sync.stored)
    assert [count for sync in syncs for count in sync.stored if 0 < count < len(chain.state)], (
        f"no kill met a state that was there in part: {syncs}"
    )
