"""The gas limit and base fee a block must have, given its parent (EIP-1559)."""

from __future__ import annotations

from typing import Final

from services.shared.chainspec.spec import INITIAL_BASE_FEE
from services.shared.ethwire.types import Header

ELASTICITY: Final = 2
"""A block may use this many times the gas its base fee aims at."""

MAX_CHANGE_DIVISOR: Final = 8
"""The base fee moves by at most one part in this many per block."""


def expected_base_fee(parent: Header) -> int:
    """The base fee of `parent`'s child. Caller's duty: the parent's gas limit is at least ELASTICITY."""
    if parent.base_fee is None:
        return INITIAL_BASE_FEE
    target = parent.gas_limit // ELASTICITY
    if parent.gas_used == target:
        return parent.base_fee
    change = parent.base_fee * abs(parent.gas_used - target) // target // MAX_CHANGE_DIVISOR
    if parent.gas_used > target:
        return parent.base_fee + max(change, 1)
    return parent.base_fee - change


def gas_limit_before(parent: Header) -> int:
    """What a child with a base fee measures its gas limit against: the fork block doubles it once."""
    return parent.gas_limit * ELASTICITY if parent.base_fee is None else parent.gas_limit
