"""The peers of every test: alice, bob and carol are honest, mallory is not."""

from __future__ import annotations

from services.shared.ethwire.types import PeerId

ALICE = PeerId(b"\xa1" * 64)
BOB = PeerId(b"\xb0" * 64)
CAROL = PeerId(b"\xca" * 64)
MALLORY = PeerId(b"\x3a" * 64)
