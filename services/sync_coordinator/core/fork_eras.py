"""A network's fork schedule cut into eras: ranges of blocks in which no header rule changes.

Made once per network, so that checking a header costs one search and no fork comparison.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.shared.chainspec.spec import ChainSpec
from services.sync_coordinator.core.difficulty import (
    Adjustment,
    Bomb,
    adjustment_at,
    bomb_at,
    difficulty_changes,
    is_active,
)

DAO_EXTRA_DATA: Final = b"dao-hard-fork"
"""What the first blocks of the fork's supporters carry, so that both sides part (EIP-779)."""

DAO_EXTRA_DATA_BLOCKS: Final = 10


class Era(NamedTuple):
    """The header rules from block `first` up to the next era's."""

    first: int
    adjustment: Adjustment
    bomb: Bomb
    has_base_fee: bool
    wants_dao_extra_data: bool | None
    """True: must be there; False: must not; None: no matter."""
    required_hash: bytes | None


def eras_of(spec: ChainSpec) -> list[Era]:
    """All eras in order; the first one starts at block 0."""
    starts = {0} | difficulty_changes(spec)
    if spec.london_block is not None:
        starts.add(spec.london_block)
    if spec.dao_fork_block is not None:
        starts |= {spec.dao_fork_block, spec.dao_fork_block + DAO_EXTRA_DATA_BLOCKS}
    if spec.eip150_block is not None:
        starts |= {spec.eip150_block, spec.eip150_block + 1}
    return [_era_at(spec, first) for first in sorted(starts)]


def _era_at(spec: ChainSpec, first: int) -> Era:
    dao_block = spec.dao_fork_block
    in_dao_range = dao_block is not None and dao_block <= first < dao_block + DAO_EXTRA_DATA_BLOCKS
    return Era(
        first=first,
        adjustment=adjustment_at(spec, first),
        bomb=bomb_at(spec, first),
        has_base_fee=is_active(spec.london_block, first),
        wants_dao_extra_data=spec.dao_fork_support if in_dao_range else None,
        required_hash=spec.eip150_hash if first == spec.eip150_block else None,
    )
