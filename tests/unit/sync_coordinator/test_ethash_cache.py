"""Caches made here against published ones, and against the library's where it builds them too."""

import hashlib

import pytest

from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.ethash_cache import cache_items, dataset_items, fill_cache, seed_of
from services.sync_coordinator.core.ethash_epochs import MAX_EPOCH
from services.sync_coordinator.core.ethash_seal import seal_inputs
from services.sync_coordinator.edges import ethash_library
from services.sync_coordinator.edges.ethash_library import LibraryUnfit, open_verifier
from tests.support.chain_vectors import headers_of
from tests.support.vectors import load_vectors

PUBLISHED = load_vectors("ethash/ecip1099.json")


def digest(sizes):
    return hashlib.sha256(",".join(map(str, sizes)).encode()).hexdigest()


def test_sizes_are_those_of_the_published_tables():
    epochs = range(MAX_EPOCH + 1)
    assert digest(cache_items(epoch) * 64 for epoch in epochs) == PUBLISHED["cache_sizes_sha256"]
    assert digest(dataset_items(epoch) * 128 for epoch in epochs) == PUBLISHED["dataset_sizes_sha256"]


def test_cache_with_the_seed_of_a_later_epoch_is_the_published_one():
    case = PUBLISHED["cache"]
    cache = bytearray(64 * cache_items(case["size_epoch"]))
    fill_cache(memoryview(cache), seed_of(case["seed_epoch"]))
    assert hashlib.sha256(bytes.fromhex(PUBLISHED["cache_file_magic"]) + cache).hexdigest() == case["file_sha256"]


def test_library_judges_by_our_cache_as_by_its_own():
    epoch = 1
    headers = [header for header in headers_of("mainnet") + headers_of("ropsten") if header.number // 30_000 == epoch]
    wrong = [with_hash(header._replace(nonce=bytes(8))) for header in headers]
    ours, library = ethash_library._OwnContext(epoch, seed_of(epoch)).verify, open_verifier(epoch, epoch)
    assert headers
    for is_right in (ours, library):
        assert [is_right(seal_inputs(header)) for header in headers] == [True] * len(headers)
        assert [is_right(seal_inputs(header)) for header in wrong] == [False] * len(wrong)


def test_library_with_another_layout_is_refused_before_it_is_given_a_cache(monkeypatch):
    monkeypatch.setattr(ethash_library, "dataset_items", lambda epoch: 7)
    with pytest.raises(LibraryUnfit, match="cannot check seals of ECIP-1099"):
        open_verifier(0, 2)
