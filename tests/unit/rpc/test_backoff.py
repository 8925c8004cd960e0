from __future__ import annotations

import random

from services.shared.rpc.channel import Backoff


def test_delays_double_up_to_the_longest():
    backoff = Backoff(random.Random(7), first_s=0.2, most_s=5.0)
    for longest in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        assert longest / 2 <= backoff.next_delay_s() <= longest


def test_first_delay_is_back_after_a_success():
    backoff = Backoff(random.Random(7))
    for _ in range(2000):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() <= 0.2
