"""The limit of open files."""

from __future__ import annotations

import resource

import pytest

from services.shared.runtime.open_files import WANTED, raise_open_files

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 524_288), (WANTED, 524_288)),
        ((1024, UNLIMITED), (WANTED, UNLIMITED)),
        ((1024, 4096), (4096, 4096)),
        ((WANTED + 1, UNLIMITED), None),
        ((UNLIMITED, UNLIMITED), None),
    ],
)
def test_it_is_raised_as_far_as_is_wanted_and_allowed_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int] | None
):
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: made.append(given))
    raise_open_files()
    assert made == ([] if expected is None else [expected])
