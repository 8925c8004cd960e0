"""Reads vector files, which are never written into a test's body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors"


def load_vectors(path: str) -> Any:
    """The JSON file at `path` below tests/vectors."""
    return json.loads((VECTORS / path).read_text())


def vector_bytes(path: str) -> bytes:
    """The file at `path` below tests/vectors, as it is."""
    return (VECTORS / path).read_bytes()


def from_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
