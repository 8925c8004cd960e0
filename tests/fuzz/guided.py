"""One target fuzzed by atheris, which follows what new code an input reaches. Run as a process of its own.

atheris is an optional tool: it is looked for, never required.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["services"]):
    from tests.fuzz.targets import all_targets

from tests.fuzz.mutations import mutate


def main() -> None:
    """`python -m tests.fuzz.guided TARGET LIBFUZZER-ARGUMENT…`"""
    target = all_targets()[sys.argv[1]]

    def change(tried: bytes, most_bytes: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.6:
            return mutate(bytes(tried), target.samples, rng)[:most_bytes]
        return bytes(atheris.Mutate(tried, most_bytes))

    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
