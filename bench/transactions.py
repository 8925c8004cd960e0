"""`python -m bench.transactions`: what transactions cost the broadcaster: checking, pooling, deciding, remembering.

The cores as the broadcaster has them, without its network. The run in which known sets are full takes a minute.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.sync import count
from bench.targets import Measured, at_least, below, rows_of, table
from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.pending_pool import PendingPool
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.core.transaction_check import PoolRules, check_transaction
from services.broadcaster.core.transaction_relay import (
    DISTINCT_TRANSACTION_HASHES,
    TRANSACTION_HASHES_PER_PEER,
    TransactionRelay,
)
from services.peer_gateway.edges.known_transactions import HASHES_PER_PEER, KnownTransactions
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.types import PeerId, TransactionHash
from tests.support.transactions import CHAIN_ID, Draft

PEERS: Final = 1_000
GATEWAYS: Final = 4
BATCH: Final = 20
"""Transactions decided together: what a busy network brings in a second."""

DECIDED: Final = 2_000
KNOWERS: Final = 50
"""Peers that know one hash, where sets overlap least."""

CHECKED: Final = 2_000
RULES: Final = PoolRules(chain_id=CHAIN_ID, gas_limit=8_000_000)


def transactions(amount: int) -> Iterator[Transaction]:
    """The same transaction under other hashes: deciding looks at no more than the hash and the size."""
    template = Draft().checked().transaction
    for number in range(amount):
        yield template._replace(hash=TransactionHash(number.to_bytes(32)))


def decide(relay: TransactionRelay, peers: Sequence[PeerId], batches: Sequence[Sequence[Transaction]]) -> float:
    """Seconds for all batches: one peer brings each, everyone else is sent it."""
    seconds = 0.0
    for index, batch in enumerate(batches):
        source = index % len(peers)
        hashes = [transaction.hash for transaction in batch]
        started = time.perf_counter()
        relay.mark_known(GatewayId(f"gateway-{source % GATEWAYS}"), peers[source], hashes)
        relay.relay(batch)
        seconds += time.perf_counter() - started
    return seconds


def decisions(seed: int, filled: int) -> tuple[float, float]:
    """(transaction, peer) pairs a second, with `filled` hashes known to everyone before; milliseconds for a batch."""
    relay, peers = TransactionRelay(random.Random(seed)), [PeerId(number.to_bytes(64)) for number in range(PEERS)]
    for number, peer in enumerate(peers):
        relay.join(GatewayId(f"gateway-{number % GATEWAYS}"), peer, ())
    made = list(transactions(filled + DECIDED))
    for transaction in made[:filled]:
        relay.relay([transaction])
    gc.collect()
    batches = [made[start : start + BATCH] for start in range(filled, len(made), BATCH)]
    seconds = decide(relay, peers, batches)
    return DECIDED * PEERS / seconds, seconds / len(batches) * 1e3


def memory_mb(seed: int) -> tuple[float, float, float]:
    """Private memory that full known sets take, distinct hashes, marks a second. Runs alone in a process."""
    rng = random.Random(seed)
    before = private_mb()
    known = KnownSets(TRANSACTION_HASHES_PER_PEER, DISTINCT_TRANSACTION_HASHES)
    peers = [PeerId(number.to_bytes(64)) for number in range(PEERS)]
    for peer in peers:
        known.add_peer(peer)
    hashes = PEERS * TRANSACTION_HASHES_PER_PEER // KNOWERS
    started = time.perf_counter()
    for _ in range(hashes):
        new_hash = rng.randbytes(32)
        for peer in rng.sample(peers, KNOWERS):
            known.mark(peer, new_hash)
    marks_per_s = hashes * KNOWERS / (time.perf_counter() - started)
    gc.collect()
    return private_mb() - before, known.distinct, marks_per_s


def gateway_memory_mb(peers: int) -> float:
    """Private memory that a gateway takes for what its peers know of one network's transactions. Runs alone."""
    known = KnownTransactions(lambda _: None)
    before = private_mb()
    everyone = [PeerId(number.to_bytes(64)) for number in range(peers)]
    for peer in everyone:
        known.peer_joined(peer)
    for number in range(HASHES_PER_PEER):
        known.sent(everyone, [TransactionHash(number.to_bytes(32))])
    gc.collect()
    return private_mb() - before


def private_mb() -> float:
    """Of this process, Linux only: what no other process shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))) / 1024


def checks(seed: int) -> tuple[float, float]:
    """Transactions checked a second by one thread, and pooled a second."""
    wires = [Draft(account=number % 100, nonce=number // 100, value=seed + 1).wire() for number in range(CHECKED)]
    started = time.perf_counter()
    checked = [check_transaction(wire, RULES) for wire in wires]
    middle = time.perf_counter()
    pool = PendingPool()
    for one in checked:
        pool.add_remote(one, None, 0.0)
    return CHECKED / (middle - started), CHECKED / (time.perf_counter() - middle)


def run(seed: int, *, full: bool) -> list[Measured]:
    checked_per_s, pooled_per_s = checks(seed)
    pairs_per_s, batch_ms = decisions(seed, 0)
    rows = [
        Measured("transactions checked, sender recovered, by one thread", checked_per_s, "/s"),
        Measured("transactions pooled", pooled_per_s, "/s"),
        Measured(f"pairs decided, {PEERS:,} peers", pairs_per_s, "/s", at_least(500_000)),
        Measured(f"a decision of {BATCH} transactions", batch_ms, "ms"),
    ]
    if full:
        pairs_per_s, batch_ms = decisions(seed, TRANSACTION_HASHES_PER_PEER)
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            size_mb, distinct, marks_per_s = alone.apply(memory_mb, (seed,))
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            gateway_mb = alone.apply(gateway_memory_mb, (PEERS,))
        rows += [
            Measured("pairs decided, known sets full", pairs_per_s, "/s", at_least(500_000)),
            Measured(f"a decision of {BATCH} transactions, known sets full", batch_ms, "ms"),
            Measured(f"memory of full known sets, each hash known by {KNOWERS}", size_mb, "MB", below(300)),
            Measured("distinct hashes in them", distinct, ""),
            Measured("single hashes marked", marks_per_s, "/s"),
            Measured("memory of a gateway for what its peers know", gateway_mb, "MB"),
        ]
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transactions", description="Measure transactions.")
    parser.add_argument("--runs", type=count, default=1, help="runs; medians are shown (default 1)")
    parser.add_argument("--quick", action="store_true", help="leave out what needs full known sets")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    rows = rows_of([run(seed, full=not options.quick) for seed in range(options.runs)])
    print(f"medians of {options.runs}, {PEERS:,} peers, {os.cpu_count()} processors, one used\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
