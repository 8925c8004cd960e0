from __future__ import annotations

import random

from services.sync_coordinator.core.lacking_counts import LackingCounts


def test_places_stand_in_a_row_without_a_gap():
    counts = LackingCounts(["east", "west", "north"], random.Random(1))
    places = counts.row({"east": 5, "west": 7, "north": 1})
    by_name = {place.broadcaster: place for place in places}
    lacking = {"east": 5, "west": 7, "north": 1}
    before = 0
    for place in places:
        assert (place.lacking_before, place.lacking_everywhere) == (before, 13)
        before += lacking[place.broadcaster]
    assert by_name.keys() == lacking.keys()


def test_last_count_stands_when_a_broadcaster_does_not_answer():
    counts = LackingCounts(["east", "west"], random.Random(1))
    assert {place.lacking_everywhere for place in counts.row({"east": 5})} == {5}
    counts.on_count("west", 4)
    assert {place.lacking_everywhere for place in counts.row({"east": 6})} == {10}
    assert {place.lacking_everywhere for place in counts.row({})} == {10}


def test_order_changes_so_that_rounding_favours_nobody():
    counts = LackingCounts(["east", "west"], random.Random(1))
    assert {counts.row({})[0].broadcaster for _ in range(50)} == {"east", "west"}
