"""`python -m tests.support.store_process WHAT STORE [NUMBER]`: a process that reads or writes a store of a made chain.

`write N` commits the made chain in batches of N blocks and prints the new head after each; `read` reads
every block and prints the head; `follow` reads the head's block again and again until its input ends and
prints the longest time a read took; `hold` keeps one snapshot open until its input ends.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.sync_coordinator.core.fork_choice import HeadKind, extend_blocks
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.probe import probe
from services.sync_coordinator.store.tables import HEAD_KEYS, Table
from tests.support.chain_maker import made_chain, made_genesis

GENESIS: Final = made_genesis().head
CHAIN_LENGTH: Final = 3000
FIRST_MAP_BYTES: Final = 1 << 17
"""A map that has to grow while the chain is written."""


def write(path: Path, batch: int) -> None:
    store = LmdbChainStore.open(path, GENESIS, map_bytes=FIRST_MAP_BYTES)
    chain = made_chain(CHAIN_LENGTH)
    while (first := store.heads().full_block.number + 1) <= CHAIN_LENGTH:
        last = min(first + batch - 1, CHAIN_LENGTH)
        store.commit(extend_blocks(store, [chain.block(number) for number in range(first, last + 1)]))
        print(last, flush=True)
    store.close()


def read(path: Path, _: int) -> None:
    store = LmdbChainStore.open(path, GENESIS, probe=probe)
    for number in range(store.heads().header.number + 1):
        block_hash = store.canonical_hash(number)
        if block_hash is not None:
            store.header(block_hash)
            store.body_rlp(block_hash)
            store.total_difficulty(block_hash)
    print(store.heads().header.number, flush=True)
    store.close()


def follow(path: Path, _: int) -> None:
    store = LmdbChainStore.open(path, GENESIS, read_only=True)
    longest_s, reads, last = 0.0, 0, -1
    while not _input_ended():
        started = time.monotonic()
        number = last
        while (block_hash := store.canonical_hash(number + 1)) is not None:
            assert store.body_rlp(block_hash) is not None
            number += 1
            longest_s, started = max(longest_s, time.monotonic() - started), time.monotonic()
            reads += 1
        if number > last:
            print(number, flush=True)
            last = number
    print(f"longest {longest_s:.4f}", flush=True)
    store.close()


def hold(path: Path, _: int) -> None:
    store = LmdbChainStore.open(path, GENESIS, read_only=True)
    with store.snapshot() as snapshot:
        seen = snapshot.get(Table.META, HEAD_KEYS[HeadKind.HEADER])
        print(snapshot.count(Table.HEADERS) - 1, flush=True)
        while not _input_ended():
            time.sleep(0.01)
        assert snapshot.get(Table.META, HEAD_KEYS[HeadKind.HEADER]) == seen
        assert sum(1 for _ in snapshot.entries(Table.HEADERS)) == snapshot.count(Table.HEADERS)
        print(snapshot.count(Table.HEADERS) - 1, flush=True)
    store.close()


def _input_ended() -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and not os.read(0, 1)


WHAT: Final[dict[str, Callable[[Path, int], None]]] = {"write": write, "read": read, "follow": follow, "hold": hold}


if __name__ == "__main__":
    try:
        WHAT[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    except (StoreRefused, StoreFailed) as problem:
        sys.exit(str(problem))
