import random

import pytest

from services.broadcaster.core.fan_out import FanOut, choose_propagation_peers, fan_out_count


@pytest.mark.parametrize(
    ("policy", "lacking", "count"),
    [
        (FanOut.SEED, 0, 0),
        (FanOut.SEED, 3, 3),
        (FanOut.SEED, 4, 4),
        (FanOut.SEED, 24, 4),
        (FanOut.SEED, 25, 5),
        (FanOut.SEED, 35, 5),
        (FanOut.SEED, 36, 6),
        (FanOut.SEED, 1000, 31),
        (FanOut.SQRT, 0, 0),
        (FanOut.SQRT, 3, 1),
        (FanOut.SQRT, 24, 4),
        (FanOut.SQRT, 1000, 31),
        (FanOut.ALL, 0, 0),
        (FanOut.ALL, 1000, 1000),
    ],
)
def test_a_block_is_propagated_to_as_many_peers_as_the_policy_says(policy, lacking, count):
    assert fan_out_count(policy, lacking) == count


def test_the_choice_is_the_same_when_the_seed_is():
    peers = list(range(100))
    first = choose_propagation_peers(FanOut.SEED, peers, random.Random(7))
    assert first == choose_propagation_peers(FanOut.SEED, peers, random.Random(7))
    assert first != choose_propagation_peers(FanOut.SEED, peers, random.Random(8))


def test_every_peer_is_chosen_about_equally_often():
    rng, times = random.Random(1), [0] * 25
    for _ in range(5_000):
        for peer in choose_propagation_peers(FanOut.SEED, range(25), rng):
            times[peer] += 1
    assert all(850 < count < 1150 for count in times)
