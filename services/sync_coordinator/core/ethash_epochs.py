"""Which blocks share an ethash cache (Yellow Paper, appendix J; ECIP-1099 for Classic's longer epochs)."""

from __future__ import annotations

from typing import Final, NamedTuple

EPOCH_BLOCKS: Final = 30_000
"""Blocks that share one cache."""

LONG_EPOCH_BLOCKS: Final = 60_000
"""The same from the block of ECIP-1099 on. Seeds still change as if epochs were short, so that none comes again."""

MAX_EPOCH: Final = 2047
"""Caches of higher epochs outgrow 270 MB, and no chain is near (61 million blocks)."""


class EthashEpoch(NamedTuple):
    """A cache: its size is that of one epoch, its seed that of another where epochs are long."""

    size_epoch: int
    seed_epoch: int
    blocks: range

    @property
    def is_ordinary(self) -> bool:
        """Whether size and seed belong together, as ethash libraries expect."""
        return self.size_epoch == self.seed_epoch


def epoch_at(number: int, ecip1099_block: int | None) -> EthashEpoch:
    """The epoch of a block; an epoch that the switch to long ones cuts has only the blocks on its side."""
    if ecip1099_block is None or number < ecip1099_block:
        index = number // EPOCH_BLOCKS
        end = (index + 1) * EPOCH_BLOCKS
        return EthashEpoch(index, index, range(index * EPOCH_BLOCKS, min(end, ecip1099_block or end)))
    index = number // LONG_EPOCH_BLOCKS
    start = max(index * LONG_EPOCH_BLOCKS, ecip1099_block)
    seed_epoch = index * (LONG_EPOCH_BLOCKS // EPOCH_BLOCKS)
    return EthashEpoch(index, seed_epoch, range(start, (index + 1) * LONG_EPOCH_BLOCKS))
