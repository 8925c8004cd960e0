"""Which headers a block may name as uncles (Yellow Paper 4.3.4 and 11.1): the family part, without the header rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.rule_broken import broken

MAX_UNCLES: Final = 2

MAX_UNCLE_GENERATIONS: Final = 7
"""How far back an uncle's parent may be."""


class AncestorBlock(NamedTuple):
    """A block before the one judged, and the hashes of the uncles it named."""

    header: Header
    uncle_hashes: Collection[BlockHash]


def check_uncle_family(
    header: Header, uncles: Sequence[Header], ancestors: Sequence[AncestorBlock]
) -> list[tuple[Header, Header]]:
    """Each uncle with its parent. Raises RuleBroken. `ancestors` come newest first, the block's parent leading."""
    if len(uncles) > MAX_UNCLES:
        raise broken(header, "uncles", f"names {len(uncles)}, at most {MAX_UNCLES}")
    recent = ancestors[:MAX_UNCLE_GENERATIONS]
    headers = {ancestor.header.hash: ancestor.header for ancestor in recent}
    named = {uncle_hash for ancestor in recent for uncle_hash in ancestor.uncle_hashes}
    pairs = []
    for uncle in uncles:
        if uncle.hash in named:
            raise broken(header, "uncles", f"{_name(uncle)} was named before")
        named.add(uncle.hash)
        if uncle.hash in headers or uncle.hash == header.hash:
            raise broken(header, "uncles", f"{_name(uncle)} is the block itself or an ancestor")
        parent = headers.get(uncle.parent_hash)
        if parent is None or uncle.parent_hash == header.parent_hash:
            raise broken(header, "uncles", f"{_name(uncle)} has no parent among the ancestors 2 to 7 generations back")
        pairs.append((uncle, parent))
    return pairs


def _name(uncle: Header) -> str:
    return f"uncle {uncle.number} 0x{uncle.hash.hex()[:8]}…"
