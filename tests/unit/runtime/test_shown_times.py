from __future__ import annotations

import pytest

from services.shared.runtime.shown_times import describe_seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (61.0, "1 min 01 s"), (7265.0, "2 h 01 min")]
)
def test_times_read_well(seconds: float, text: str):
    assert describe_seconds(seconds) == text
