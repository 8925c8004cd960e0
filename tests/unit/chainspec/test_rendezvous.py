from __future__ import annotations

from collections import Counter

from services.shared.chainspec.rendezvous import owner_of, ranking
from services.shared.ethwire.types import PeerId

NAMES = ["east", "west", "north"]
NODES = [PeerId(number.to_bytes(64, "big")) for number in range(300)]


def test_ranking_begins_with_the_owner_and_goes_on_with_who_owns_when_it_is_gone():
    for node in NODES[:50]:
        first, second, third = ranking(node, NAMES)
        assert first == owner_of(node, NAMES)
        assert second == owner_of(node, [name for name in NAMES if name != first])
        assert {first, second, third} == {*NAMES}
        assert ranking(node, NAMES[::-1]) == [first, second, third]


def test_nodes_are_spread_over_all_names():
    firsts = Counter(ranking(node, NAMES)[0] for node in NODES)
    assert min(firsts[name] for name in NAMES) > 60
