"""The fork schedule of one network: which rules hold from which block on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final, Literal

SealEngine = Literal["ethash", "clique"]

CLIQUE_PERIOD_S: Final = 15
"""Seconds between clique blocks on the public clique networks."""

CLIQUE_EPOCH_BLOCKS: Final = 30_000
"""Blocks between clique checkpoints (EIP-225); also what a length of 0 means in a genesis file."""

INITIAL_BASE_FEE: Final = 1_000_000_000
"""Wei per gas at the first block with a base fee (EIP-1559)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSpec:
    """Fork blocks are None where the network never has that fork.

    Classic's names for the same header rules are folded in: Atlantis is Byzantium, Agharta is
    Constantinople and Petersburg, Phoenix is Istanbul, Magneto is Berlin.
    """

    chain_id: int
    """Signs transactions (EIP-155); not the network id of the Status message. 0: the network names none."""

    seal_engine: SealEngine = "ethash"
    clique_period_s: int = CLIQUE_PERIOD_S
    clique_epoch_blocks: int = CLIQUE_EPOCH_BLOCKS

    homestead_block: int | None = None
    dao_fork_block: int | None = None
    dao_fork_support: bool = False
    """Whether the ten blocks from the DAO fork on must carry its extra-data, or must not."""

    eip150_block: int | None = None
    eip150_hash: bytes | None = None
    """The one hash the EIP-150 block may have, where the network names it."""

    eip155_block: int | None = None
    eip158_block: int | None = None
    byzantium_block: int | None = None
    constantinople_block: int | None = None
    petersburg_block: int | None = None
    istanbul_block: int | None = None
    muir_glacier_block: int | None = None
    berlin_block: int | None = None
    london_block: int | None = None
    """First block with a base fee (EIP-1559)."""

    arrow_glacier_block: int | None = None
    gray_glacier_block: int | None = None
    merge_netsplit_block: int | None = None
    terminal_total_difficulty: int | None = None
    """Total difficulty at which proof-of-stake takes over; later blocks have no valid difficulty here."""

    ecip1010_block: int | None = None
    """Classic, Die Hard: the difficulty bomb stands still from here."""

    ecip1010_length: int = 0
    """Classic, Gotham: for this many blocks it stands still, and stays that far behind afterwards."""

    ecip1017_block: int | None = None
    ecip1041_block: int | None = None
    """Classic: the difficulty bomb is gone from here."""

    ecip1099_block: int | None = None
    """Classic, Thanos: ethash epochs are twice as long from here."""

    mystique_block: int | None = None
    spiral_block: int | None = None

    fixed_difficulty: int | None = None
    """Private networks only (`ethash.fixeddifficulty`): every block has this difficulty."""

    def __post_init__(self) -> None:
        if self.clique_epoch_blocks < 1:
            raise ValueError(f"clique_epoch_blocks={self.clique_epoch_blocks} is not above 0")
        blocks = [(getattr(self, fork), fork) for fork in FORK_ORDER]
        present = [(block, fork) for block, fork in blocks if block is not None]
        for (before, earlier), (block, later) in itertools.pairwise(present):
            if block < before:
                raise ValueError(f"{later}={block} comes before {earlier}={before}")


FORK_ORDER: Final = (
    "homestead_block",
    "eip150_block",
    "eip155_block",
    "byzantium_block",
    "constantinople_block",
    "petersburg_block",
    "istanbul_block",
    "muir_glacier_block",
    "berlin_block",
    "london_block",
    "arrow_glacier_block",
    "gray_glacier_block",
)
"""Forks that build on one another; those that a network has must come in this order."""
