"""`python -m bench.peer_set`: what peers that come, go and move on cost, and what the best one does.

First the peer set, the sync cycle and the judgements of peers by themselves, then a whole coordinator without its
network.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final

import structlog

from bench.crowded_node import node_event_us
from bench.sync import count
from bench.targets import Measured, at_least, below, rows_of, table
from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.peer_verdicts import judge
from services.sync_coordinator.core.sync_cycle import Situation, SyncCycle

EVENTS: Final = 100_000
"""Joins, leaves and head changes of one simulation."""

MANY: Final = 10_000
FEW: Final = 100

LISTED: Final = 20
"""Candidates that `trisync best-peer` lists."""

ASKED: Final = 1000
"""Questions of each kind."""

HEAD: Final = BlockHash(bytes(32))


class Crowd:
    """So many peers, of which some leave, come back, and get heavier heads."""

    def __init__(self, size: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._ids = [PeerId(number.to_bytes(64)) for number in range(size)]
        self.peers = PeerSet(max_peers=size)
        self._at = 0.0
        for node_id in self._ids:
            self._join(node_id)

    def event(self) -> None:
        """One peer does something: of three moves two are of heads, and whoever is away comes back."""
        node_id = self._rng.choice(self._ids)
        held = self.peers.get(node_id)
        if held is None:
            self._join(node_id)
        elif self._rng.random() < 1 / 3:
            self.peers.leave(node_id, held.gateway_id)
        else:
            self.peers.raise_head(node_id, HEAD, held.total_difficulty + self._rng.randrange(1, 10**9))

    def _join(self, node_id: PeerId) -> None:
        self._at += 1.0
        total_difficulty = self._rng.randrange(10**15)
        self.peers.join(
            Peer(
                node_id=node_id,
                gateway_id="gateway-0",
                eth_version=63,
                head_hash=HEAD,
                total_difficulty=total_difficulty,
                joined_at=self._at,
            )
        )


def events(size: int, seed: int) -> float:
    """Microseconds for an event among `size` peers, with the question for the best one after each."""
    crowd = Crowd(size, seed)
    started = time.perf_counter()
    for _ in range(EVENTS):
        crowd.event()
        crowd.peers.best()
    return (time.perf_counter() - started) / EVENTS * 1e6


def answers(size: int, seed: int) -> tuple[list[float], list[float]]:
    """Microseconds for each question: the best peer with its verdict and the decision; the list with all verdicts."""
    crowd = Crowd(size, seed)
    cycle = SyncCycle(min_peers=5, force_cycle_s=10.0, now=0.0)
    best_us, list_us = [], []
    for _ in range(ASKED):
        for _ in range(10):
            crowd.event()
        started = time.perf_counter()
        best = crowd.peers.best()
        if best is not None:
            judge(best, best, 0)
        cycle.explain(Situation(candidate=best, peer_count=crowd.peers.candidates, ours=0, now=1.0))
        best_us.append((time.perf_counter() - started) * 1e6)
        started = time.perf_counter()
        for peer in crowd.peers.heaviest(LISTED):
            judge(peer, best, 0)
        list_us.append((time.perf_counter() - started) * 1e6)
    return best_us, list_us


def run(seed: int) -> list[Measured]:
    few, many = events(FEW, seed), events(MANY, seed)
    best_us, list_us = answers(MANY, seed)
    node_few, node_many = (node_event_us(size, seed, EVENTS) for size in (FEW, MANY))
    logarithms = math.log(MANY) / math.log(FEW)
    return [
        Measured(f"an event among {FEW:,} peers", few, "us"),
        Measured(f"an event among {MANY:,} peers", many, "us"),
        Measured(f"{MANY // FEW} times the peers cost", many / few, "times", below(2 * logarithms)),
        Measured(f"events among {MANY:,} peers", 1e6 / many, "/s", at_least(20_000)),
        Measured(f"best of {MANY:,}, median", statistics.median(best_us), "us", below(1000)),
        Measured(f"best of {MANY:,}, 99th percentile", _p99(best_us), "us"),
        Measured(f"the {LISTED} heaviest of {MANY:,}, median", statistics.median(list_us), "us", below(1000)),
        Measured(f"the {LISTED} heaviest of {MANY:,}, 99th percentile", _p99(list_us), "us"),
        Measured(f"an event of a whole coordinator among {FEW:,}", node_few, "us"),
        Measured(f"an event of a whole coordinator among {MANY:,}", node_many, "us"),
        Measured(f"{MANY // FEW} times the peers cost it", node_many / node_few, "times", below(2 * logarithms)),
    ]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peer_set", description="Measure the peer set.")
    parser.add_argument("--runs", type=count, default=3, help="runs; medians are shown (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rows = rows_of([run(seed) for seed in range(options.runs)])
    print(f"medians of {options.runs}, {EVENTS:,} events each, {os.cpu_count()} processors, one used\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
