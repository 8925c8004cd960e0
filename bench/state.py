"""`python -m bench.state`: what fetching a state costs the coordinator, peers and gateways left out.

The state download over a real store; peers that have everything answer at once. Their replies are hashed by gateways.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bench.sync import count
from bench.targets import Measured, at_least, below, rows_of, table
from services.shared.ethwire.types import BlockHash, PeerId, StateEntry
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.state_download import StateDownload
from services.sync_coordinator.core.sync_actions import RequestNodeData, StoreState, SyncAction, SyncMode, SyncTarget
from services.sync_coordinator.core.sync_run import SyncRun
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.chain_maker import made_genesis
from tests.support.state_trie import MadeState, seeded_state

ACCOUNTS: Final = 40_000
PEERS: Final = 5
ROUND_TRIP_S: Final = 0.05
"""In the download's own time, which no real second passes for."""

T = TypeVar("T")


class Fetch:
    """One download, every call to it timed."""

    def __init__(self, state: MadeState, store: LmdbChainStore, seed: int) -> None:
        self._state, self._store = state, store
        self._now = 0.0
        peers = DownloadPeers(DownloaderConfig())
        for number in range(PEERS):
            peers.join(PeerId(number.to_bytes(64)), 63)
        run = SyncRun(
            config=DownloaderConfig(),
            target=SyncTarget(SyncMode.FULL, PeerId(bytes(64)), BlockHash(bytes(32)), 1),
            chain=store,
            peers=peers,
            rng=random.Random(seed),
            next_request_id=itertools.count(1).__next__,
        )
        self._download = StateDownload(run, state.root)
        self.step_ms: list[float] = []
        self.commits_s = 0.0
        self.most_held = 0

    def run(self) -> None:
        todo: deque[SyncAction] = deque()
        download = self._download
        while not download.is_complete:
            self._now += ROUND_TRIP_S / PEERS
            todo.extend(self._timed(lambda: download.advance(self._now)))
            self.most_held = max(self.most_held, download.held)
            match todo.popleft() if todo else None:
                case RequestNodeData(request_id, _, hashes):
                    entries = [StateEntry(self._state.entries[wanted], wanted) for wanted in hashes]
                    self._answer(request_id, entries)
                case StoreState(batch_id, entries):
                    started = time.perf_counter()
                    self._store.commit(ChainUpdate(heads=self._store.heads(), state_entries=entries))
                    self.commits_s += time.perf_counter() - started
                    download.on_stored(batch_id, self._now)
                case _:
                    pass

    def _answer(self, request_id: int, entries: Sequence[StateEntry]) -> None:
        is_awaited, guilty = self._timed(lambda: self._download.on_node_data(request_id, entries, self._now))
        assert is_awaited
        assert guilty is None

    def _timed(self, call: Callable[[], T]) -> T:
        started = time.thread_time()
        result = call()
        self.step_ms.append((time.thread_time() - started) * 1e3)
        return result


def run(seed: int) -> list[Measured]:
    state = seeded_state(seed, ACCOUNTS)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="bench-state-") as scratch:
        store = LmdbChainStore.open(Path(scratch) / "chain", made_genesis().head)
        fetch = Fetch(state, store, seed)
        fetch.run()
        store.close()
    gc.unfreeze()
    step_s = sum(fetch.step_ms) / 1e3
    return [
        Measured("entries decided and checked against the store", len(state) / step_s, "/s", at_least(15_000)),
        Measured("entries committed", len(state) / fetch.commits_s, "/s", at_least(15_000)),
        Measured("a call, 99th percentile", statistics.quantiles(fetch.step_ms, n=100)[-1], "ms", below(5)),
        Measured("a call, longest", max(fetch.step_ms), "ms"),
        Measured("most entries in memory at once", 100 * fetch.most_held / len(state), "% of all"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.state", description="Measure the state download.")
    parser.add_argument("--runs", type=count, default=3, help="runs; medians are shown (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    rows = rows_of([run(seed) for seed in range(options.runs)])
    print(f"medians of {options.runs}, {ACCOUNTS:,} accounts, {PEERS} peers, {os.cpu_count()} processors, one used\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
