"""What the check of a store finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

MAX_PROBLEMS: Final = 100
"""After this many the store is beyond doubt bad, and the rest would repeat them."""


class Problem(NamedTuple):
    """One thing wrong: where, the key it concerns, and the rule it breaks. A state entry has no block."""

    number: int | None
    key: bytes
    rule: str
    detail: str

    def __str__(self) -> str:
        where = "" if self.number is None else f"block {self.number}, "
        return f"{where}key 0x{self.key.hex()}: {self.rule}: {self.detail}"


class TooManyProblems(Exception):
    """Checking stopped at MAX_PROBLEMS."""


class ProblemLog:
    """Passes problems on as they are found, and counts them."""

    def __init__(self, report: Callable[[Problem], None]) -> None:
        self._report = report
        self.count = 0

    def note(self, key: bytes, rule: str, detail: str) -> None:
        """A problem of the block that `key` begins with. Raises TooManyProblems."""
        self._add(Problem(int.from_bytes(key[:8]), key, rule, detail))

    def note_index(self, rule: str, detail: str) -> None:
        """A problem of a whole table."""
        self.note(bytes(8), rule, detail)

    def note_state(self, key: bytes, rule: str, detail: str) -> None:
        """A problem of a state entry."""
        self._add(Problem(None, key, rule, detail))

    def _add(self, problem: Problem) -> None:
        self.count += 1
        self._report(problem)
        if self.count >= MAX_PROBLEMS:
            raise TooManyProblems
