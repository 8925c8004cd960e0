from __future__ import annotations

import itertools
from typing import cast

import pytest

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView
from services.sync_coordinator.core.import_batches import HeaderImports
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from tests.support.chain_maker import made_chain

GENESIS, *HEADERS = made_chain(10).headers


class KnownHeaders:
    """A chain as far as these tests look at it."""

    def __init__(self) -> None:
        self.hashes = {GENESIS.hash}

    def total_difficulty(self, block_hash: BlockHash) -> int | None:
        return 1 if block_hash in self.hashes else None


@pytest.mark.parametrize("number", [5, None], ids=["rule broken", "our own side failed"])
def test_what_was_taken_of_a_failed_batch_counts_as_added_so_that_it_can_be_rolled_back(number):
    chain, ids = KnownHeaders(), itertools.count(1)
    batches = HeaderImports(DownloaderConfig(), cast("ChainView", chain))
    ready = LinkedHeaders(GENESIS.number, GENESIS.hash)
    ready.add(HEADERS)
    batches.next(ready, lambda: next(ids))
    chain.hashes |= {header.hash for header in HEADERS[:4]}
    batches.on_failed(number)
    assert list(batches.added) == HEADERS[:4]
    assert not batches.lane.is_busy
