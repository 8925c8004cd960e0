"""Ethash caches whose seed and size are of different epochs (Yellow Paper, appendix J.3; ECIP-1099).

Slower than a library's, which builds only caches whose seed and size belong together: about 1.5 us for each 64 bytes.
"""

from __future__ import annotations

import math
from typing import Final

import sha3

CACHE_ITEM_BYTES: Final = 64
DATASET_ITEM_BYTES: Final = 128

CACHE_BYTES_AT_FIRST: Final = 2**24
CACHE_BYTES_PER_EPOCH: Final = 2**17
DATASET_BYTES_AT_FIRST: Final = 2**30
DATASET_BYTES_PER_EPOCH: Final = 2**23

CACHE_ROUNDS: Final = 3

WORD_MASK: Final = 0xFFFFFFFF
"""The first word of an item says which other item it is mixed with."""


def cache_items(size_epoch: int) -> int:
    """Items of the cache in this epoch: the largest prime that its bytes have room for."""
    return _largest_prime_below((CACHE_BYTES_AT_FIRST + CACHE_BYTES_PER_EPOCH * size_epoch) // CACHE_ITEM_BYTES)


def dataset_items(size_epoch: int) -> int:
    """Items of the dataset in this epoch, likewise."""
    return _largest_prime_below((DATASET_BYTES_AT_FIRST + DATASET_BYTES_PER_EPOCH * size_epoch) // DATASET_ITEM_BYTES)


def seed_of(seed_epoch: int) -> bytes:
    """What the cache grows from: 32 zero bytes, hashed once an epoch of 30,000 blocks."""
    seed = bytes(32)
    for _ in range(seed_epoch):
        seed = sha3.keccak_256(seed).digest()
    return seed


def fill_cache(cache: memoryview, seed: bytes) -> None:
    """Writes the items of a cache of this length. They are numbers meanwhile: these are mixed by xor."""
    keccak_512, number = sha3.keccak_512, int.from_bytes
    item_count = len(cache) // CACHE_ITEM_BYTES
    item = keccak_512(seed).digest()
    items = [number(item, "little")]
    for _ in range(item_count - 1):
        item = keccak_512(item).digest()
        items.append(number(item, "little"))
    for _ in range(CACHE_ROUNDS):
        before = items[-1]
        for index, own in enumerate(items):
            mixed = before ^ items[(own & WORD_MASK) % item_count]
            before = items[index] = number(keccak_512(mixed.to_bytes(CACHE_ITEM_BYTES, "little")).digest(), "little")
    for index, each in enumerate(items):
        start = index * CACHE_ITEM_BYTES
        cache[start : start + CACHE_ITEM_BYTES] = each.to_bytes(CACHE_ITEM_BYTES, "little")


def _largest_prime_below(bound: int) -> int:
    """Of odd numbers below an even bound."""
    candidate = bound - 1
    while any(candidate % divisor == 0 for divisor in range(3, math.isqrt(candidate) + 1, 2)):
        candidate -= 2
    return candidate
