"""What a clique header must look like (EIP-225), signer and votes aside: those need the chain's history."""

from __future__ import annotations

from typing import Final

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.hashing import EMPTY_LIST_HASH
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.rule_broken import broken, too_early

VANITY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 65
SIGNER_BYTES: Final = 20

ADD_VOTE: Final = b"\xff" * 8
DROP_VOTE: Final = bytes(8)

NO_ADDRESS: Final = bytes(20)
NO_MIX_HASH: Final = bytes(32)


def check_clique_shape(spec: ChainSpec, header: Header, parent: Header, now: float | None) -> None:
    """Raises RuleBroken; `now=None` leaves the clock out."""
    if header.difficulty == 0 and spec.terminal_total_difficulty is not None:
        raise broken(header, "difficulty", "is 0, must be 1 or 2: proof-of-stake blocks are not supported")
    if now is not None and header.timestamp > now:
        raise too_early(header, now)
    if header.timestamp < parent.timestamp + spec.clique_period_s:
        raise broken(header, "timestamp", f"{header.timestamp} is less than {spec.clique_period_s} s after the parent")
    is_checkpoint = header.number % spec.clique_epoch_blocks == 0
    _check_vote(header, is_checkpoint=is_checkpoint)
    _check_extra_data(header, is_checkpoint=is_checkpoint)
    if header.mix_hash != NO_MIX_HASH:
        raise broken(header, "mix-hash", "must be zero on a clique network")
    if header.uncles_hash != EMPTY_LIST_HASH:
        raise broken(header, "uncles", "a clique block has none")
    if header.difficulty not in (1, 2):
        raise broken(header, "difficulty", f"is {header.difficulty}, must be 1 or 2 on a clique network")


def _check_vote(header: Header, *, is_checkpoint: bool) -> None:
    """The nonce is the vote, the coinbase the address voted on; checkpoints carry none."""
    if header.nonce not in (ADD_VOTE, DROP_VOTE):
        raise broken(header, "vote", f"the nonce 0x{header.nonce.hex()} is neither all zeros nor all ones")
    if is_checkpoint and (header.nonce != DROP_VOTE or header.coinbase != NO_ADDRESS):
        raise broken(header, "vote", "a checkpoint block carries no vote")


def _check_extra_data(header: Header, *, is_checkpoint: bool) -> None:
    signers_bytes = len(header.extra_data) - VANITY_BYTES - SIGNATURE_BYTES
    if signers_bytes < 0:
        raise broken(header, "extra-data", f"has {len(header.extra_data)} bytes, too few for vanity and signature")
    if not is_checkpoint and signers_bytes:
        raise broken(header, "extra-data", "lists signers outside a checkpoint block")
    if signers_bytes % SIGNER_BYTES:
        raise broken(header, "extra-data", "its list of signers is not a whole number of addresses")
