"""Whether a header may follow its parent (Yellow Paper 4.3.4; EIP-150, 225, 779, 1559), its seal aside.

Called for every header of a sync: nothing here compares fork numbers or builds texts unless a rule is broken.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.hashing import EMPTY_LIST_HASH
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.base_fee import expected_base_fee, gas_limit_before
from services.sync_coordinator.core.clique_shape import check_clique_shape
from services.sync_coordinator.core.fork_eras import DAO_EXTRA_DATA, Era, eras_of
from services.sync_coordinator.core.rule_broken import RuleBroken, broken, too_early
from services.sync_coordinator.core.uncles import AncestorBlock, check_uncle_family

__all__ = ["AncestorBlock", "ChainRules", "RuleBroken"]

FUTURE_ALLOWANCE_S: Final = 15
"""How far ahead of our clock an ethash block may be; clocks differ."""

MAX_EXTRA_DATA_BYTES: Final = 32
GAS_LIMIT_BOUND_DIVISOR: Final = 1024
"""A gas limit differs from the parent's by less than one part in this many."""

MIN_GAS_LIMIT: Final = 5000
MAX_GAS_LIMIT: Final = 2**63 - 1

_NO_PROOF_OF_STAKE: Final = "proof-of-stake blocks are not supported"


class ChainRules:
    """The header and uncle rules of one network. Stateless: every call stands for itself."""

    def __init__(self, spec: ChainSpec) -> None:
        self._spec = spec
        self.is_clique = spec.seal_engine == "clique"
        self.terminal_total_difficulty = spec.terminal_total_difficulty
        self._eras = eras_of(spec)
        self._starts = [era.first for era in self._eras]

    def check_header(self, header: Header, parent: Header, *, now: float | None) -> None:
        """Raises RuleBroken unless `header` may follow `parent`; `now=None` leaves the clock out."""
        self._check(header, parent, now, is_uncle=False)

    def check_uncles(self, header: Header, uncles: Sequence[Header], ancestors: Sequence[AncestorBlock]) -> None:
        """Raises RuleBroken unless the block of `header` may have these uncles.

        `ancestors` are the block's, its parent first: seven, or all there are.
        """
        if not uncles:
            return
        if self.is_clique:
            raise broken(header, "uncles", "a clique block has none")
        for uncle, uncle_parent in check_uncle_family(header, uncles, ancestors):
            try:
                self._check(uncle, uncle_parent, None, is_uncle=True)
            except RuleBroken as fault:
                raise broken(header, "uncles", f"its uncle, {fault}") from fault

    def check_before_merge(self, header: Header, parent_total_difficulty: int) -> None:
        """Raises RuleBroken when proof-of-stake has taken over before `header` (EIP-3675)."""
        terminal = self.terminal_total_difficulty
        if terminal is not None and parent_total_difficulty >= terminal:
            reached = f"its parent has {parent_total_difficulty}, and at {terminal} proof-of-stake takes over"
            raise broken(header, "terminal-total-difficulty", f"{reached}, which is not supported")

    def expected_difficulty(self, parent: Header, timestamp: int) -> int:
        """The difficulty of a child of `parent` with this timestamp (ethash networks)."""
        number = parent.number + 1
        return self._difficulty(self._eras[bisect.bisect_right(self._starts, number) - 1], parent, timestamp)

    def _difficulty(self, era: Era, parent: Header, timestamp: int) -> int:
        if self._spec.fixed_difficulty is not None:
            return self._spec.fixed_difficulty
        has_uncles = parent.uncles_hash != EMPTY_LIST_HASH
        return era.adjustment(parent.difficulty, timestamp - parent.timestamp, has_uncles) + era.bomb(parent.number + 1)

    def _check(self, header: Header, parent: Header, now: float | None, *, is_uncle: bool) -> None:
        """Cheap links first: the later rules rely on a sane number and parent."""
        number = header.number
        if header.parent_hash != parent.hash:
            raise broken(header, "parent", f"follows 0x{header.parent_hash.hex()}, not 0x{parent.hash.hex()}")
        if number != parent.number + 1:
            raise broken(header, "number", f"must be {parent.number + 1}")
        era = self._eras[bisect.bisect_right(self._starts, number) - 1]
        if self.is_clique:
            if not header.difficulty and self.terminal_total_difficulty is not None:
                raise broken(header, "difficulty", f"is 0, must be 1 or 2: {_NO_PROOF_OF_STAKE}")
            check_clique_shape(self._spec, header, parent, now)
        else:
            self._check_ethash_fields(era, header, parent, now)
        if era.has_base_fee:
            _check_base_fee(header, parent)
        elif header.base_fee is not None:
            raise broken(header, "base-fee", "is there before the London fork")
        if era.required_hash is not None and not is_uncle and header.hash != era.required_hash:
            raise broken(header, "fork-hash", f"the network's block {number} is 0x{era.required_hash.hex()}")

    def _check_ethash_fields(self, era: Era, header: Header, parent: Header, now: float | None) -> None:
        timestamp = header.timestamp
        if now is not None and timestamp > now + FUTURE_ALLOWANCE_S:
            raise too_early(header, now)
        if timestamp <= parent.timestamp:
            raise broken(header, "timestamp", f"{timestamp} is not later than the parent's {parent.timestamp}")
        if len(header.extra_data) > MAX_EXTRA_DATA_BYTES:
            raise broken(header, "extra-data", f"has {len(header.extra_data)} bytes, at most {MAX_EXTRA_DATA_BYTES}")
        if header.gas_used > header.gas_limit:
            raise broken(header, "gas-used", f"{header.gas_used} is above the gas limit {header.gas_limit}")
        if not era.has_base_fee:
            _check_gas_limit(header, parent.gas_limit)
        expected = self._difficulty(era, parent, timestamp)
        if header.difficulty != expected:
            raise broken(header, "difficulty", self._difficulty_detail(header, expected))
        if era.wants_dao_extra_data is not None:
            _check_dao_extra_data(header, wanted=era.wants_dao_extra_data)

    def _difficulty_detail(self, header: Header, expected: int) -> str:
        if not header.difficulty and self.terminal_total_difficulty is not None:
            return f"is 0, must be {expected}: {_NO_PROOF_OF_STAKE}"
        return f"is {header.difficulty}, must be {expected}"


def _check_gas_limit(header: Header, before: int) -> None:
    limit = header.gas_limit
    if not MIN_GAS_LIMIT <= limit <= MAX_GAS_LIMIT:
        raise broken(header, "gas-limit", f"{limit} is not in {MIN_GAS_LIMIT}..{MAX_GAS_LIMIT}")
    if abs(limit - before) >= before // GAS_LIMIT_BOUND_DIVISOR:
        raise broken(header, "gas-limit", f"{limit} is too far from {before}")


def _check_base_fee(header: Header, parent: Header) -> None:
    """EIP-1559 binds the gas limit on every network, so a base fee never divides by zero."""
    _check_gas_limit(header, gas_limit_before(parent))
    expected = expected_base_fee(parent)
    if header.base_fee != expected:
        raise broken(header, "base-fee", f"is {header.base_fee}, must be {expected}")


def _check_dao_extra_data(header: Header, *, wanted: bool) -> None:
    if (header.extra_data == DAO_EXTRA_DATA) != wanted:
        stance = "must" if wanted else "must not"
        raise broken(header, "dao-extra-data", f"{stance} be {DAO_EXTRA_DATA.decode()!r} on this side of the DAO fork")
