"""Who may seal the next clique block (EIP-225): the signers, who signed lately, and the votes under way.

A snapshot never changes: it belongs to one block hash, and so to one chain of ancestors. What it shares
with its parent's is not copied, so one is kept for every recent block of every branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.clique_seal import NO_SIGNER, listed_signers
from services.sync_coordinator.core.clique_shape import ADD_VOTE, SIGNATURE_BYTES, VANITY_BYTES
from services.sync_coordinator.core.rule_broken import broken

STORE_INTERVAL: Final = 1024
"""Snapshots of every so many blocks are kept in the store (geth `checkpointInterval`)."""

IN_TURN_DIFFICULTY: Final = 2
OUT_OF_TURN_DIFFICULTY: Final = 1

Votes = Mapping[bytes, frozenset[bytes]]
"""Who voted on an address. Votes on a signer are for its removal, all others for admission: no other counts."""


class SignerSnapshot(NamedTuple):
    """The state after one block."""

    number: int
    block_hash: BlockHash
    signers: tuple[bytes, ...]
    """In ascending order, which is that of their turns."""
    recents: tuple[bytes, ...]
    """Who sealed the newest blocks, the last one at the end; no more than the rules look at."""
    votes: Votes

    @property
    def recent_limit(self) -> int:
        """A signer may seal one of this many consecutive blocks."""
        return len(self.signers) // 2 + 1

    def may_not_sign(self) -> tuple[bytes, ...]:
        """Those who signed too recently to seal the next block."""
        return self.recents[max(0, len(self.recents) - (self.recent_limit - 1)) :]

    def difficulty_of(self, signer: bytes) -> int:
        """The difficulty of the next block when this one of the signers seals it."""
        turn = self.signers[(self.number + 1) % len(self.signers)]
        return IN_TURN_DIFFICULTY if signer == turn else OUT_OF_TURN_DIFFICULTY

    def apply(self, header: Header, signer: bytes, epoch_blocks: int) -> SignerSnapshot:
        """The state after `header`, sealed by `signer`. Raises RuleBroken.

        Caller's duty: its parent is this snapshot's block, and its shape was checked.
        """
        is_checkpoint = header.number % epoch_blocks == 0
        if is_checkpoint and header.extra_data[VANITY_BYTES:-SIGNATURE_BYTES] != b"".join(self.signers):
            raise broken(header, "checkpoint", f"must list the {len(self.signers)} signers in ascending order")
        self._check_signer(header, signer)
        recents = (*self.may_not_sign(), signer)
        if is_checkpoint:
            return SignerSnapshot(header.number, header.hash, self.signers, recents, {})
        signers, votes = self._after_vote(header, signer)
        return SignerSnapshot(header.number, header.hash, signers, recents, votes)

    def _check_signer(self, header: Header, signer: bytes) -> None:
        if signer == NO_SIGNER:
            raise broken(header, "seal", "no key can have made the signature")
        if signer not in self.signers:
            raise broken(header, "signer", f"0x{signer.hex()} is not one of the {len(self.signers)} signers")
        if signer in self.may_not_sign():
            detail = f"0x{signer.hex()} may seal one of {self.recent_limit} blocks, and sealed a recent one"
            raise broken(header, "recent-signer", detail)
        expected = self.difficulty_of(signer)
        if header.difficulty != expected:
            turn = "in" if expected == IN_TURN_DIFFICULTY else "out of"
            raise broken(header, "difficulty", f"is {header.difficulty}, must be {expected}: the signer is {turn} turn")

    def _after_vote(self, header: Header, signer: bytes) -> tuple[tuple[bytes, ...], Votes]:
        """A signer's newer vote on an address replaces the older one, also when the newer one does not count."""
        candidate, votes = header.coinbase, self.votes
        voters = before = votes.get(candidate, frozenset())
        is_signer = candidate in self.signers
        if (header.nonce == ADD_VOTE) != is_signer:
            voters |= {signer}
        else:
            voters -= {signer}
        if len(voters) > len(self.signers) // 2:
            if is_signer:
                return tuple(known for known in self.signers if known != candidate), _without(votes, candidate)
            rest = {about: by for about, by in votes.items() if about != candidate}
            return tuple(sorted((*self.signers, candidate))), rest
        if voters != before:
            votes = {about: by for about, by in {**votes, candidate: voters}.items() if by}
        return self.signers, votes


def genesis_snapshot(genesis: Header) -> SignerSnapshot:
    """Raises ValueError when the genesis names no signers, so that no block can follow it."""
    signers = tuple(sorted(set(listed_signers(genesis))))
    if not signers:
        raise ValueError("extra data lists no signer")
    return SignerSnapshot(genesis.number, genesis.hash, signers, (), {})


def _without(votes: Votes, removed: bytes) -> Votes:
    """What is left when a signer is removed: neither the votes on it nor those it cast."""
    left = {about: by - {removed} for about, by in votes.items() if about != removed}
    return {about: by for about, by in left.items() if by}
