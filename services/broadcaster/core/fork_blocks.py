"""From the forks that change what a valid transaction is to the rules of the next block."""

from __future__ import annotations

from dataclasses import dataclass

from services.broadcaster.core.transaction_check import PoolRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkBlocks:
    """The first block of each; None where the network never has it."""

    chain_id: int = 0
    homestead: int | None = None
    eip155: int | None = None
    istanbul: int | None = None
    berlin: int | None = None
    london: int | None = None
    spiral: int | None = None

    def rules_above(self, head_number: int, gas_limit: int, price_floor: int) -> PoolRules:
        """For the block after a head with this gas limit."""

        def holds(fork: int | None) -> bool:
            return fork is not None and fork <= head_number + 1

        return PoolRules(
            chain_id=self.chain_id,
            gas_limit=gas_limit,
            price_floor=price_floor,
            has_homestead=holds(self.homestead),
            has_eip155=holds(self.eip155),
            has_istanbul=holds(self.istanbul),
            has_berlin=holds(self.berlin),
            has_london=holds(self.london),
            has_init_code_gas=holds(self.spiral),
        )
