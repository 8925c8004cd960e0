"""Numbers of any size, in few letters."""

from __future__ import annotations

import math
from typing import Final

PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
PLAIN_BELOW: Final = 10_000
MOST_GROUPED: Final = 10**10
"""A block number above this is a lie; it is shown short."""


def grouped(number: int) -> str:
    """A block number, with a comma after each three digits."""
    return f"{number:,}" if number < MOST_GROUPED else compact(number)


def compact(number: float) -> str:
    """Three to four digits and a prefix; seven letters at most."""
    if number < 0:
        return f"-{compact(-number)}"
    if number < PLAIN_BELOW:
        return str(number) if isinstance(number, int) else f"{number:.0f}" if number >= 10 else f"{number:.1f}"
    if number >= 1000 ** len(PREFIXES):
        return f"1e{int(math.log10(number))}"
    power = 0
    scaled = number
    while scaled >= 1000 and power < len(PREFIXES) - 1:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:.0f}{PREFIXES[power]}" if scaled >= 100 else f"{scaled:.1f}{PREFIXES[power]}"


def compact_bytes(size: float) -> str:
    """With the unit, as in 32.4 kB."""
    shown = compact(size)
    prefix = shown[-1] if shown[-1].isalpha() else ""
    return f"{shown.removesuffix(prefix)} {prefix}B"


def signed(number: int) -> str:
    """A difference, in short."""
    return "level" if number == 0 else f"+{compact(number)}" if number > 0 else compact(number)
