"""The long run: `python -m tests.fuzz --minutes 10 [--target NAME] [--seed N]`.

Each target has its share of the time. What is found is written into `tests/fuzz/corpus`, one line of hex digits
for each input, where `test_decoders` picks it up; the exit code is 1. `--keep 5` also writes a few small inputs
there that reached code which the samples do not, so that the short profile begins with them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.mutations import MOST_BYTES, mutate
from tests.fuzz.target import Target
from tests.fuzz.targets import all_targets

CORPUS: Final = Path(__file__).parent / "corpus"

KEPT_BYTES: Final = 128
"""Longest input that `--keep` keeps: the corpus stays at some tens of KB."""

KEPT_INPUTS: Final = 500
"""Inputs that an unguided run goes on from, beside the samples."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(all_targets()), help="only these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=int, default=0, help="inputs per target to add to the corpus, found or not")
    options = parser.parse_args()
    is_guided = importlib.util.find_spec("atheris") is not None
    targets = [target for name, target in all_targets().items() if not options.target or name in options.target]
    seconds = options.minutes * 60 / len(targets)
    print(f"{len(targets)} targets, {seconds:.0f} s each, {'guided by coverage' if is_guided else 'unguided'}")
    found = 0
    for target in targets:
        outcome = _run_guided(target, seconds, options.seed) if is_guided else _run(target, seconds, options.seed)
        _add_to_corpus(target, sorted(outcome.reached, key=_digest)[: options.keep])
        if outcome.bad is not None:
            found += 1
            _add_to_corpus(target, [outcome.bad])
            print(f"{target.name}: FOUND {outcome.bad.hex()}")
    return 1 if found else 0


class Outcome(NamedTuple):
    """`bad` broke the oracle; the small inputs in `reached` got further than the samples."""

    bad: bytes | None
    reached: list[bytes]


def corpus_of(target: Target) -> list[bytes]:
    """What earlier runs kept."""
    path = CORPUS / f"{target.name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def _add_to_corpus(target: Target, inputs: list[bytes]) -> None:
    CORPUS.mkdir(exist_ok=True)
    kept = sorted({*corpus_of(target), *inputs}, key=_digest)
    if kept:
        (CORPUS / f"{target.name}.hex").write_text("".join(f"{each.hex()}\n" for each in kept))


def _digest(tried: bytes) -> bytes:
    return hashlib.sha256(tried).digest()


def _run(target: Target, seconds: float, seed: int) -> Outcome:
    """Change samples until the time is over, or one breaks the oracle."""
    rng, inputs = random.Random(seed), [*target.samples, *corpus_of(target)]
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        tried = mutate(rng.choice(inputs), target.samples, rng)
        count += 1
        try:
            target.check(tried)
        except Exception as bug:  # noqa: BLE001 - whatever is not documented is what is looked for
            print(f"{target.name}: {type(bug).__name__}: {bug}")
            return Outcome(tried, [])
        if rng.random() < 0.01:
            # A change on top of changes; most go nowhere, so the samples stay in play.
            inputs = [*target.samples, *inputs[len(target.samples) :][-KEPT_INPUTS:], tried]
    print(f"{target.name}: {count:,} inputs")
    return Outcome(None, [])


def _run_guided(target: Target, seconds: float, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as room:
        corpus = Path(room) / "corpus"
        corpus.mkdir()
        for number, sample in enumerate([*target.samples, *corpus_of(target)]):
            (corpus / f"sample-{number}").write_bytes(sample)
        limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={MOST_BYTES}", f"-seed={seed}", "-timeout=20"]
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, *limits]
        result = subprocess.run(
            [*command, f"-artifact_prefix={room}/", str(corpus)], capture_output=True, text=True, check=False
        )
        lines = result.stderr.splitlines()
        print(f"{target.name}: {lines[-1] if lines else 'nothing was said'}; {len(list(corpus.iterdir()))} inputs kept")
        artifacts = [*Path(room).glob("crash-*"), *Path(room).glob("timeout-*"), *Path(room).glob("oom-*")]
        if not artifacts:
            assert result.returncode == 0, result.stderr[-2000:]
            return Outcome(None, _small_inputs(corpus))
        print((result.stdout + result.stderr)[-3000:])
        return Outcome(artifacts[0].read_bytes(), _small_inputs(corpus))


def _small_inputs(corpus: Path) -> list[bytes]:
    """What the guided run kept beside what it was given."""
    made = [path.read_bytes() for path in corpus.iterdir() if not path.name.startswith("sample-")]
    return [each for each in made if 0 < len(each) <= KEPT_BYTES]


if __name__ == "__main__":
    sys.exit(main())
