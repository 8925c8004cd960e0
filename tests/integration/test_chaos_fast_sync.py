"""kill -9 of coordinator and gateway at random moments of a fast sync: nothing is lost, nothing is fetched twice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.support.fast_chain import fast_chain
from tests.support.fast_chaos import ACCOUNTS, BLOCKS, KILLS_PER_SYNC, disturbed_sync
from tests.support.stack import in_one_loop

pytestmark = pytest.mark.integration

SEEDS: Final = (3, 11)
"""Two syncs of five kills each: ten moments. `python -m tests.support.fast_chaos` tries a hundred."""


@pytest.mark.parametrize("seed", SEEDS)
@in_one_loop
async def test_fast_sync_ends_as_an_undisturbed_one_when_services_are_killed_on_the_way(
    tmp_path: Path, seed: int
) -> None:
    chain = fast_chain(BLOCKS, accounts=ACCOUNTS)
    found = await disturbed_sync(tmp_path, chain, random.Random(seed), KILLS_PER_SYNC)
    assert found.asked_again == 0
    assert found.heads == sorted(found.heads)
    assert found.stored == sorted(found.stored)
    in_the_middle = [count for count in found.stored if 0 < count < len(chain.state)]
    assert in_the_middle, f"no kill met a state that was there in part: {found}"
