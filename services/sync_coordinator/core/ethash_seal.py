"""What an ethash seal is checked against (Yellow Paper, appendix J); the check itself runs in worker processes."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import seal_hash
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.rule_broken import broken

EPOCH_BLOCKS: Final = 30_000
"""Blocks that share one ethash cache."""

MAX_EPOCH: Final = 2047
"""Higher epochs are refused: their caches outgrow 270 MB, and no chain is near (61 million blocks)."""


class SealInputs(NamedTuple):
    """Everything the check of one seal needs."""

    epoch: int
    seal_hash: bytes
    mix_hash: bytes
    nonce: int
    boundary: bytes
    """The largest result that counts: 2^256 / difficulty, big endian."""


def epoch_of(number: int) -> int:
    return number // EPOCH_BLOCKS


def seal_inputs(header: Header) -> SealInputs:
    """Caller's duty: `check_sealable` passed."""
    return SealInputs(
        epoch_of(header.number),
        seal_hash(header),
        header.mix_hash,
        int.from_bytes(header.nonce),
        boundary_of(header.difficulty),
    )


def boundary_of(difficulty: int) -> bytes:
    """Difficulty 1 allows every result, so 2^256 is cut to what fits 32 bytes."""
    return min(2**256 // difficulty, 2**256 - 1).to_bytes(32)


def check_sealable(spec: ChainSpec, header: Header) -> None:
    """Raises RuleBroken for a header whose seal cannot be right, or cannot be judged by this program."""
    if header.difficulty < 1:
        raise broken(header, "seal", "the difficulty is 0")
    if spec.ecip1099_block is not None and header.number >= spec.ecip1099_block:
        detail = f"ethash epochs of 60,000 blocks (ECIP-1099, from block {spec.ecip1099_block}) are not supported"
        raise broken(header, "seal", detail)
    if epoch_of(header.number) > MAX_EPOCH:
        raise broken(header, "seal", f"ethash epoch {epoch_of(header.number)} is above {MAX_EPOCH}")
