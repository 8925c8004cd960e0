from typing import Any

import pytest

from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.difficulty import adjustment_at, bomb_at
from services.sync_coordinator.core.fork_eras import eras_of
from tests.support.chain_vectors import headers_of, load_gz

FORK_TESTS = load_gz("difficulty/difficulty_tests.json.gz")
NETWORK_TESTS = load_gz("difficulty/network_difficulty_tests.json.gz")


def failures(spec, cases):
    """The cases whose difficulty is not what the rules give, by the fork tables directly."""
    return [
        case
        for case in cases
        if adjustment_at(spec, case[2])(case[0], case[1], bool(case[3])) + bomb_at(spec, case[2])(case[2]) != case[4]
    ]


@pytest.mark.parametrize("group", FORK_TESTS, ids=lambda group: group["name"])
def test_difficulty_of_every_fork_matches_the_published_tests(group):
    forks: dict[str, Any] = {} if group["fork"] == "frontier" else {f"{group['fork']}_block": 0}
    assert failures(ChainSpec(chain_id=1, **forks), group["cases"]) == []


@pytest.mark.parametrize("group", NETWORK_TESTS, ids=lambda group: group["name"])
def test_difficulty_across_a_networks_forks_matches_the_published_tests(group):
    assert failures(network(group["network"]).spec, group["cases"]) == []


CLASSIC_BOMBS = [
    (2_999_999, 2**27),
    (3_000_000, 2**28),
    (4_999_999, 2**28),
    (5_000_000, 2**28),
    (5_100_000, 2**29),
    (5_899_999, 2**36),
    (5_900_000, 0),
    (19_000_000, 0),
]


@pytest.mark.parametrize(("number", "bomb"), CLASSIC_BOMBS)
def test_classic_bomb_pauses_falls_behind_and_goes_away(number, bomb):
    assert bomb_at(network("classic").spec, number)(number) == bomb


MAINNET_BOMBS = [
    (4_369_999, 2**41),
    (4_370_000, 2**11),
    (7_279_999, 2**40),
    (7_280_000, 2**20),
    (9_199_999, 2**39),
    (9_200_000, 2**0),
    (12_964_999, 2**37),
    (12_965_000, 2**30),
    (13_772_999, 2**38),
    (13_773_000, 2**28),
    (15_049_999, 2**41),
    (15_050_000, 2**34),
]


@pytest.mark.parametrize(("number", "bomb"), MAINNET_BOMBS)
def test_mainnet_bomb_is_put_off_by_each_of_its_six_delays(number, bomb):
    assert bomb_at(network("mainnet").spec, number)(number) == bomb


@pytest.mark.parametrize("number", [0, 1, 301_243, 10_000_000])
def test_mordor_never_has_a_bomb(number):
    assert bomb_at(network("mordor").spec, number)(number) == 0


@pytest.mark.parametrize("name", ["mainnet", "ropsten", "classic", "mordor", "sepolia"])
def test_eras_cut_the_schedule_exactly_where_rules_change(name):
    spec = network(name).spec
    starts = [era.first for era in eras_of(spec)]
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    for era in eras_of(spec):
        for number in (era.first, era.first + 1):
            if number == era.first or number not in starts:
                assert era.bomb(number) == bomb_at(spec, number)(number)
                assert era.adjustment is adjustment_at(spec, number)


def test_fixed_difficulty_overrides_the_forks():
    parent = headers_of("mainnet")[0]
    rules = ChainRules(ChainSpec(chain_id=1, fixed_difficulty=100))
    assert rules.expected_difficulty(parent, parent.timestamp + 500) == 100
