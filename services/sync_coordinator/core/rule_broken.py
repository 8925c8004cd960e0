"""The one error of everything that judges headers and blocks."""

from __future__ import annotations

from services.shared.ethwire.types import BlockHash, Header


class RuleBroken(Exception):
    """A header or block breaks a rule of its chain; whoever vouched for it is at fault.

    `rule` is a short stable name from a closed set ("difficulty", "gas-limit", "timestamp-future", "seal", …);
    `detail` is for people. "timestamp-future" alone is nobody's fault: clocks differ.
    """

    def __init__(self, number: int, block_hash: BlockHash, rule: str, detail: str) -> None:
        super().__init__(number, block_hash, rule, detail)
        self.number, self.block_hash, self.rule, self.detail = number, block_hash, rule, detail

    def __str__(self) -> str:
        return f"block {self.number} 0x{self.block_hash.hex()[:8]}…: {self.rule}: {self.detail}"


def broken(header: Header, rule: str, detail: str) -> RuleBroken:
    """The error to raise when `header` breaks `rule`."""
    return RuleBroken(header.number, header.hash, rule, detail)
