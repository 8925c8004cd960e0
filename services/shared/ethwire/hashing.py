"""Keccak-256 and the well-known hashes of empty things (Yellow Paper, appendix and section 4.3)."""

from __future__ import annotations

from typing import Final

import sha3


def keccak256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 (not NIST SHA-3) of `data`."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


EMPTY_TRIE_ROOT: Final = keccak256(b"\x80")
"""Root of a trie without entries; the transactions and receipts root of an empty block."""

EMPTY_LIST_HASH: Final = keccak256(b"\xc0")
"""Uncles hash of a block without uncles."""

EMPTY_CODE_HASH: Final = keccak256(b"")
"""Code hash of an account without code."""
