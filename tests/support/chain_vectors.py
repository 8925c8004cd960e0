"""Headers and chains from gzipped vector files, and the walk that judges a chain as an importer would."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.chain_rules import AncestorBlock, ChainRules, RuleBroken
from tests.support.vectors import VECTORS


@functools.cache
def load_gz(path: str) -> Any:
    """The gzipped JSON file at `path` below tests/vectors."""
    return json.loads(gzip.decompress((VECTORS / path).read_bytes()))


def headers_of(network_name: str) -> list[Header]:
    """Real headers of a public network by number; neighbours are not always there."""
    rows = load_gz("mainnet_headers/headers.json.gz")[network_name]
    return [decode_header(bytes.fromhex(row)) for row in rows]


def pairs_of(network_name: str) -> list[tuple[Header, Header]]:
    """(parent, child) for each header whose parent is there too."""
    headers = headers_of(network_name)
    by_hash = {header.hash: header for header in headers}
    return [(by_hash[child.parent_hash], child) for child in headers if child.parent_hash in by_hash]


class VectorBlock(NamedTuple):
    header: Header
    uncles: Sequence[Header]
    rule: str | None
    """The rule the block breaks, or None for a valid one."""


def vector_blocks(rows: Iterable[Sequence[Any]]) -> Iterator[VectorBlock]:
    """From rows of header RLP, uncles' RLPs and, where there is one, the broken rule."""
    for header_hex, uncle_hexes, *rule in rows:
        uncles = [decode_header(bytes.fromhex(uncle)) for uncle in uncle_hexes]
        yield VectorBlock(decode_header(bytes.fromhex(header_hex)), uncles, rule[0] if rule else None)


class ChainWalk:
    """Blocks that were found valid, by hash, so that later ones find their ancestors."""

    def __init__(self, rules: ChainRules, genesis: Header) -> None:
        self._rules = rules
        self._known = {genesis.hash: AncestorBlock(genesis, ())}

    def broken_rule(self, header: Header, uncles: Sequence[Header], now: float = 4e9) -> str | None:
        """Judge a block by its header and uncles; a valid one becomes known."""
        parent = self._known.get(header.parent_hash)
        if parent is None:
            return "parent-unknown"
        try:
            self._rules.check_header(header, parent.header, now=now)
            self._rules.check_uncles(header, uncles, self._ancestors(header.parent_hash))
        except RuleBroken as fault:
            return fault.rule
        self._known[header.hash] = AncestorBlock(header, [uncle.hash for uncle in uncles])
        return None

    def _ancestors(self, block_hash: BlockHash) -> list[AncestorBlock]:
        ancestors: list[AncestorBlock] = []
        while len(ancestors) < 7 and block_hash in self._known:
            ancestors.append(self._known[block_hash])
            block_hash = ancestors[-1].header.parent_hash
        return ancestors
