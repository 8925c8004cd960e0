"""Which test shows which scenario of syncs and of the fetcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Final

import pytest

from services.shared.ethwire.eth_messages import ETH_VERSIONS
from tests.simulation import (
    test_fetcher_scenarios,
    test_sync_attacks,
    test_sync_cancel,
    test_sync_progress,
    test_sync_scenarios,
)
from tests.support import drawn_sync
from tests.support.seeds import REGRESSIONS, SEEDS, is_over_seeds, over_seeds, seeds_of

TABLE: Final[Mapping[str, tuple[ModuleType, str]]] = {
    # Section 4.
    "canonical sync in each mode and version": (test_sync_scenarios, "canonical_sync"),
    "throttling when the importer stalls": (test_sync_scenarios, "throttling"),
    "forked sync": (test_sync_scenarios, "forked_sync"),
    "heavy forked sync": (test_sync_scenarios, "heavy_forked_sync"),
    "bounded fork": (test_sync_scenarios, "bounded_fork"),
    "bounded heavy fork": (test_sync_scenarios, "bounded_heavy_fork"),
    "cancel mid-way": (test_sync_cancel, "cancel_mid_way"),
    "many peers": (test_sync_scenarios, "many_peers"),
    "peers of mixed versions": (test_sync_scenarios, "mixed_versions"),
    "empty blocks short-circuited": (test_sync_scenarios, "empty_blocks"),
    "missing header attack": (test_sync_attacks, "missing_header_attack"),
    "shifted header attack": (test_sync_attacks, "shifted_header_attack"),
    "invalid header rollback at start, middle and after the pivot": (test_sync_attacks, "invalid_header_rollback"),
    "high-total-difficulty starvation": (test_sync_attacks, "high_total_difficulty_starvation"),
    "header attacker dropping": (test_sync_attacks, "header_attacker_dropping"),
    "sync progress": (test_sync_progress, "sync_progress"),
    "forked progress": (test_sync_progress, "forked_progress"),
    "failed progress": (test_sync_progress, "failed_progress"),
    "faked progress": (test_sync_progress, "faked_progress"),
    "delivery never hangs when the sync is cancelled": (test_sync_cancel, "delivery_never_hangs"),
    # Section 5.
    "sequential announcements": (test_fetcher_scenarios, "sequential_announcements"),
    "concurrent announcements": (test_fetcher_scenarios, "concurrent_announcements"),
    "overlapping announcements": (test_fetcher_scenarios, "overlapping_announcements"),
    "pending deduplication": (test_fetcher_scenarios, "pending_deduplication"),
    "random arrival": (test_fetcher_scenarios, "random_arrival"),
    "queue gap fill": (test_fetcher_scenarios, "queue_gap_fill"),
    "import deduplication": (test_fetcher_scenarios, "import_deduplication"),
    "distant propagation discarded": (test_fetcher_scenarios, "distant_propagation"),
    "distant announcement discarded": (test_fetcher_scenarios, "distant_announcement"),
    "invalid announced number": (test_fetcher_scenarios, "invalid_announced_number"),
    "empty-block short-circuit": (test_fetcher_scenarios, "empty_block_short_circuit"),
    "announce-memory attack": (test_fetcher_scenarios, "announce_memory_attack"),
    "block-memory attack": (test_fetcher_scenarios, "block_memory_attack"),
}
"""By the words of the specification: where its tests are, and what their names begin with."""


def seeded_tests(scenario: str) -> Sequence[Callable[..., None]]:
    """The tests of a scenario that run over all seeds."""
    module, words = TABLE[scenario]
    found = [test for name, test in vars(module).items() if name.startswith(f"test_{words}_")]
    return [test for test in found if is_over_seeds(test)]


@pytest.mark.parametrize("scenario", TABLE)
def test_scenario_of_the_specification_is_run_in_each_mode_over_all_seeds(scenario):
    tests = seeded_tests(scenario)
    assert tests
    for test in tests:
        assert len(seeds_of(test)) >= SEEDS >= 50
        modes = [
            mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize" and mark.args[0] == "mode"
        ]
        assert [tuple(mark.args[1]) for mark in modes] == [tuple(drawn_sync.MODES)]


def test_no_two_tests_over_seeds_share_a_name():
    """Seeds of regressions are listed by the name of the test."""
    modules = {module for module, _ in TABLE.values()}
    names = [name for module in modules for name, test in vars(module).items() if is_over_seeds(test)]
    assert len(names) == len(set(names))
    assert REGRESSIONS.keys() <= set(names)


def test_peers_are_drawn_of_every_version_that_gateways_speak():
    assert set(drawn_sync.ETH_VERSIONS) == set(ETH_VERSIONS)


def test_failure_names_its_seed():
    @over_seeds
    def scenario(seed: int, limit: int) -> None:
        assert seed < limit

    scenario(limit=SEEDS)
    with pytest.raises(AssertionError) as failure:
        scenario(limit=17)
    assert failure.value.__notes__ == ["seed 17"]
