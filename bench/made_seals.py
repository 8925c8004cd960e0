"""Headers whose ethash seal is right, of any height: with difficulty 1 every nonce counts, and only the mix is work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import ethash

from services.shared.ethwire.headers import seal_hash, with_hash
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_epochs import EPOCH_BLOCKS
from tests.support.ruled_chain import GENESIS

PARENTLESS: Final = GENESIS._replace(difficulty=1)


def sealed(header: Header) -> Header:
    """The header with difficulty 1 and a seal that fits; costs one light check, and a cache where the epoch changes."""
    header = header._replace(difficulty=1)
    _, mix_hash = ethash.hash(header.number // EPOCH_BLOCKS, seal_hash(with_hash(header)), int.from_bytes(header.nonce))
    return with_hash(header._replace(mix_hash=mix_hash))


def sealed_headers(numbers: Iterable[int]) -> list[Header]:
    """One for each number, not linked: a seal stands for itself."""
    return [sealed(PARENTLESS._replace(number=number)) for number in numbers]
