"""The one error of everything that judges headers and blocks."""

from __future__ import annotations

from typing import Final

from services.shared.ethwire.types import BlockHash, Header

HELD_FUTURE_S: Final = 30
"""A block up to this far ahead of our clock may be tried again soon (geth `maxTimeFutureBlocks`)."""


class RuleBroken(Exception):
    """A header or block breaks a rule of its chain; whoever vouched for it is at fault.

    `rule` is a short stable name from a closed set ("difficulty", "gas-limit", "timestamp-future", "seal", …);
    `detail` is for people. "timestamp-future" alone may be nobody's fault: clocks differ. `ahead_s` goes with it.
    """

    def __init__(self, number: int, block_hash: BlockHash, rule: str, detail: str, ahead_s: float = 0.0) -> None:
        super().__init__(number, block_hash, rule, detail, ahead_s)
        self.number, self.block_hash, self.rule, self.detail = number, block_hash, rule, detail
        self.ahead_s = ahead_s

    @property
    def is_early(self) -> bool:
        """Whether all that is wrong is that the block's time has not quite come."""
        return 0 < self.ahead_s <= HELD_FUTURE_S

    def __str__(self) -> str:
        return f"block {self.number} 0x{self.block_hash.hex()[:8]}…: {self.rule}: {self.detail}"


def broken(header: Header, rule: str, detail: str) -> RuleBroken:
    """The error to raise when `header` breaks `rule`."""
    return RuleBroken(header.number, header.hash, rule, detail)


def too_early(header: Header, now: float) -> RuleBroken:
    """The error to raise when `header` is further ahead of our clock than its network allows."""
    ahead_s = header.timestamp - now
    detail = f"{header.timestamp} is {ahead_s:.0f} s ahead of our clock"
    return RuleBroken(header.number, header.hash, "timestamp-future", detail, ahead_s)
