"""The difficulty a block must have, for every fork (Yellow Paper 4.3.4; EIP-2, 100, 649, 1234, 2384, 3554, 4345, 5133;
ECIP-1010, 1041).

A difficulty is the parent's, adjusted for the time since it, plus a "bomb" that doubles every 100,000 blocks.
One table says which of both parts each fork has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.shared.chainspec.spec import ChainSpec

MIN_DIFFICULTY: Final = 131_072
"""No adjustment goes below this."""

ADJUSTMENT_DIVISOR: Final = 2048
"""One step of adjustment is the parent's difficulty divided by this."""

MAX_STEPS_DOWN: Final = -99
"""A block after a long pause is at most this many steps easier."""

BOMB_PERIOD_BLOCKS: Final = 100_000

Adjustment = Callable[[int, int, bool], int]
"""(parent's difficulty, seconds since the parent, whether the parent has uncles) to the adjusted difficulty."""

Bomb = Callable[[int], int]
"""Block number to what the bomb adds."""


def frontier_adjustment(parent_difficulty: int, elapsed_s: int, _parent_has_uncles: bool) -> int:
    step = parent_difficulty // ADJUSTMENT_DIVISOR
    return max(MIN_DIFFICULTY, parent_difficulty + (step if elapsed_s < 13 else -step))


def homestead_adjustment(parent_difficulty: int, elapsed_s: int, _parent_has_uncles: bool) -> int:
    return _adjust(parent_difficulty, 1 - elapsed_s // 10)


def byzantium_adjustment(parent_difficulty: int, elapsed_s: int, parent_has_uncles: bool) -> int:
    return _adjust(parent_difficulty, (2 if parent_has_uncles else 1) - elapsed_s // 9)


def _adjust(parent_difficulty: int, steps: int) -> int:
    if steps < MAX_STEPS_DOWN:
        steps = MAX_STEPS_DOWN
    difficulty = parent_difficulty + parent_difficulty // ADJUSTMENT_DIVISOR * steps
    return max(MIN_DIFFICULTY, difficulty)


def delayed_bomb(delay_blocks: int) -> Bomb:
    """The bomb as if the chain were `delay_blocks` shorter."""

    def bomb(number: int) -> int:
        period = (number - delay_blocks) // BOMB_PERIOD_BLOCKS
        return 1 << (period - 2) if period > 1 else 0

    return bomb


def paused_bomb(since_block: int) -> Bomb:
    """The bomb as it was at `since_block`, for ever."""
    stuck = delayed_bomb(0)(since_block)
    return lambda _number: stuck


def no_bomb(_number: int) -> int:
    return 0


RULES_OF_FORK: Final[tuple[tuple[str, Adjustment, int], ...]] = (
    ("gray_glacier_block", byzantium_adjustment, 11_400_000),
    ("arrow_glacier_block", byzantium_adjustment, 10_700_000),
    ("london_block", byzantium_adjustment, 9_700_000),
    ("muir_glacier_block", byzantium_adjustment, 9_000_000),
    ("constantinople_block", byzantium_adjustment, 5_000_000),
    ("byzantium_block", byzantium_adjustment, 3_000_000),
    ("homestead_block", homestead_adjustment, 0),
)
"""Fork, its adjustment, how many blocks its bomb is behind. The latest active fork counts; before all, Frontier's."""


def adjustment_at(spec: ChainSpec, number: int) -> Adjustment:
    """How the difficulty of block `number` follows its parent's."""
    for fork, adjustment, _ in RULES_OF_FORK:
        if is_active(getattr(spec, fork), number):
            return adjustment
    return frontier_adjustment


def bomb_at(spec: ChainSpec, number: int) -> Bomb:
    """The bomb of block `number` and of later ones up to the next of `difficulty_changes`; Classic has its own."""
    if is_active(spec.ecip1041_block, number):
        return no_bomb
    if spec.ecip1010_block is not None and number >= spec.ecip1010_block:
        if number < spec.ecip1010_block + spec.ecip1010_length:
            return paused_bomb(spec.ecip1010_block)
        return delayed_bomb(spec.ecip1010_length)
    for fork, _, delay_blocks in RULES_OF_FORK:
        if is_active(getattr(spec, fork), number):
            return delayed_bomb(delay_blocks)
    return delayed_bomb(0)


def difficulty_changes(spec: ChainSpec) -> set[int]:
    """The blocks at which one of the two parts may change."""
    forks = {getattr(spec, fork) for fork, _, _ in RULES_OF_FORK}
    forks |= {spec.ecip1010_block, spec.ecip1041_block}
    if spec.ecip1010_block is not None:
        forks.add(spec.ecip1010_block + spec.ecip1010_length)
    return {fork for fork in forks if fork is not None}


def is_active(fork_block: int | None, number: int) -> bool:
    return fork_block is not None and number >= fork_block
