"""One decoder and its oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """`decode` gives back nothing, raises one of `faults`, or has found a bug."""

    name: str
    decode: Callable[[bytes], object]
    faults: tuple[type[Exception], ...]
    samples: Sequence[bytes]

    def check(self, tried: bytes) -> None:
        """Raises whatever is not a documented fault."""
        try:
            self.decode(tried)
        except self.faults:
            return
