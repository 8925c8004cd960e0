"""Scenarios that are run once for each of many seeds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

SEEDS: Final = 50
"""Runs of each scenario."""

REGRESSIONS: Final[Mapping[str, Sequence[int]]] = {}
"""By the name of a scenario's test: seeds beyond the first `SEEDS` that failed once, and are run ever after."""


def over_seeds(scenario: Callable[..., None]) -> Callable[..., None]:
    """The scenario as a test: its parameter `seed` takes every seed in turn, and a failure names the seed.

    In one test and not in fifty: starting a test takes longer than most of these syncs.
    """
    signature = inspect.signature(scenario)
    others = [parameter for name, parameter in signature.parameters.items() if name != "seed"]

    @functools.wraps(scenario)
    def test(**cases: Any) -> None:
        for seed in seeds_of(test):
            try:
                scenario(seed=seed, **cases)
            except BaseException as failure:
                failure.add_note(f"seed {seed}")
                raise

    test.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return test


def seeds_of(test: Callable[..., None]) -> Sequence[int]:
    """The seeds that a test made by `over_seeds` runs over."""
    return (*range(SEEDS), *REGRESSIONS.get(test.__name__, ()))


def is_over_seeds(test: Callable[..., None]) -> bool:
    """Whether `over_seeds` made this test."""
    scenario = getattr(test, "__wrapped__", None)
    return scenario is not None and "seed" in inspect.signature(scenario).parameters
