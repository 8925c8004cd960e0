"""Seals checked by the ethash library, also with caches that it does not build itself."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Final

import ethash

from services.sync_coordinator.core.ethash_cache import (
    CACHE_ITEM_BYTES,
    cache_items,
    dataset_items,
    fill_cache,
    seed_of,
)
from services.sync_coordinator.core.ethash_seal import SealInputs

SealVerifier = Callable[[SealInputs], bool]
"""Whether nonce and mix hash are right. Lets go of the interpreter's lock, so that threads work side by side."""

CONTEXT: Final = struct.Struct("@iiPi")
"""`struct ethash_epoch_context` of the library's public header: epoch, items of the cache, the cache, items of
the dataset. The library's Python package hands it out but cannot make one."""


class LibraryUnfit(Exception):
    """The installed ethash library lays its contexts out in another way."""


def open_verifier(size_epoch: int, seed_epoch: int) -> SealVerifier:
    """Builds the cache: a second at most where size and seed belong together, else a few. Raises LibraryUnfit."""
    if size_epoch != seed_epoch:
        return _OwnContext(size_epoch, seed_of(seed_epoch)).verify
    # Kept by the library, for all threads, until another epoch is asked for.
    ethash.lib.ethash_get_global_epoch_context(size_epoch)
    return lambda inputs: bool(ethash.verify(size_epoch, *inputs))


class _OwnContext:
    """A cache and a context for it, both in memory of ours."""

    def __init__(self, size_epoch: int, seed: bytes) -> None:
        _check_layout()
        items = cache_items(size_epoch)
        self._cache = mmap.mmap(-1, items * CACHE_ITEM_BYTES)
        fill_cache(memoryview(self._cache), seed)
        ffi = ethash.ffi
        self._view = ffi.from_buffer(self._cache)
        address = int(ffi.cast("uintptr_t", self._view))
        self._fields = ffi.new("char[]", CONTEXT.pack(size_epoch, items, address, dataset_items(size_epoch)))
        self._context = ffi.cast("struct ethash_epoch_context *", self._fields)

    def verify(self, inputs: SealInputs) -> bool:
        seal_hash, mix_hash, nonce, boundary = inputs
        fault = ethash.lib.ethash_verify_against_boundary(
            self._context, _hash_256(seal_hash), _hash_256(mix_hash), nonce, _hash_256(boundary)
        )
        return not fault


def _hash_256(value: bytes) -> object:
    hash_256 = ethash.ffi.new("union ethash_hash256 *")
    hash_256[0].str = value
    return hash_256


def _check_layout() -> None:
    """Compares what the library made for epoch 0 with what it must be."""
    context = ethash.lib.ethash_get_global_epoch_context(0)
    fields = ethash.ffi.buffer(ethash.ffi.cast("char *", context), CONTEXT.size)
    epoch, items, _, full_items = CONTEXT.unpack(fields)
    if (epoch, items, full_items) != (0, cache_items(0), dataset_items(0)):
        raise LibraryUnfit("this ethash library cannot check seals of ECIP-1099 epochs")
