"""Gives a store that holds an imported chain what a fast sync would have left in it, so that it can serve one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.shared.chainspec.genesis import Genesis
from services.shared.ethwire.types import Block, Header, StateEntry
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.transfer_ledger import Ledger

PIVOT_DISTANCE: Final = 64
"""How far below the head a fast sync asks for the state."""


def genesis_balances(path: Path) -> dict[bytes, int]:
    """Balance by address in the `alloc` of a genesis file, or in an alloc alone; gzipped too."""
    content = path.read_bytes()
    fields = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    alloc: Mapping[str, Mapping[str, str]] = fields.get("alloc", fields)
    return {
        bytes.fromhex(address.removeprefix("0x")): int(account.get("balance", "0"), 0)
        for address, account in alloc.items()
    }


def add_receipts_and_state(store: LmdbChainStore, genesis: Genesis, balances: Mapping[bytes, int]) -> None:
    """Raises NotOnlyTransfers unless the chain's transactions only move ether."""
    ledger = Ledger(genesis.spec, balances)
    head = store.heads().full_block
    receipts: list[tuple[Header, bytes]] = []
    pivot: Header | None = None
    entries: list[StateEntry] = []
    for number in range(1, head.number + 1):
        block = _canonical_block(store, number)
        receipts.append((block.header, ledger.apply(block)))
        if number == head.number - PIVOT_DISTANCE:
            pivot = block.header
            state = ledger.state_after(pivot)
            entries = [StateEntry(value, entry_hash) for entry_hash, value in state.entries.items()]
    store.commit(
        ChainUpdate(
            heads=store.heads(),
            receipts=receipts,
            state_entries=entries,
            pivot=pivot.hash if pivot is not None else None,
        )
    )


def _canonical_block(store: LmdbChainStore, number: int) -> Block:
    block_hash = store.canonical_hash(number)
    assert block_hash is not None
    header, body_rlp = store.header(block_hash), store.body_rlp(block_hash)
    assert header is not None
    assert body_rlp is not None
    return Block(header, body_rlp)
