"""What an ethash seal is checked against (Yellow Paper, appendix J); the check itself runs in worker processes."""

from __future__ import annotations

from typing import NamedTuple

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import seal_hash
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_epochs import MAX_EPOCH, epoch_at
from services.sync_coordinator.core.rule_broken import broken


class SealInputs(NamedTuple):
    """Everything the check of one seal needs besides its epoch's cache."""

    seal_hash: bytes
    mix_hash: bytes
    nonce: int
    boundary: bytes
    """The largest result that counts: 2^256 / difficulty, big endian."""


def seal_inputs(header: Header) -> SealInputs:
    """Caller's duty: `check_sealable` passed."""
    return SealInputs(seal_hash(header), header.mix_hash, int.from_bytes(header.nonce), boundary_of(header.difficulty))


def boundary_of(difficulty: int) -> bytes:
    """Difficulty 1 allows every result, so 2^256 is cut to what fits 32 bytes."""
    return min(2**256 // difficulty, 2**256 - 1).to_bytes(32)


def check_sealable(spec: ChainSpec, header: Header) -> None:
    """Raises RuleBroken for a header whose seal cannot be right, or cannot be judged by this program."""
    if header.difficulty < 1:
        raise broken(header, "seal", "the difficulty is 0")
    epoch = epoch_at(header.number, spec.ecip1099_block).size_epoch
    if epoch > MAX_EPOCH:
        raise broken(header, "seal", f"ethash epoch {epoch} is above {MAX_EPOCH}")
