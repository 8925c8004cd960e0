"""Who sealed a clique header (EIP-225): the signature at the end of its extra data, over everything else in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coincurve import PublicKey

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.headers import encode_header
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.clique_shape import SIGNATURE_BYTES, SIGNER_BYTES, VANITY_BYTES

NO_SIGNER: Final = bytes(SIGNER_BYTES)
"""Stands for a signature that no key can have made; no key has this address."""


def clique_seal_hash(header: Header) -> bytes:
    """What the signer signs: Keccak-256 of the header without the signature."""
    return keccak256(encode_header(header._replace(extra_data=header.extra_data[:-SIGNATURE_BYTES])))


def recover_signer(header: Header) -> bytes:
    """The address that sealed `header`, or NO_SIGNER. Caller's duty: its shape was checked."""
    signature = header.extra_data[-SIGNATURE_BYTES:]
    try:
        key = PublicKey.from_signature_and_message(signature, clique_seal_hash(header), hasher=None)
    except ValueError:
        return NO_SIGNER
    return keccak256(key.format(compressed=False)[1:])[-SIGNER_BYTES:]


def listed_signers(header: Header) -> Sequence[bytes]:
    """The addresses between vanity and signature of a genesis or checkpoint header, in the order given.

    Raises ValueError when there is no room for vanity and signature, or half an address is left.
    """
    listed = header.extra_data[VANITY_BYTES:-SIGNATURE_BYTES]
    if len(header.extra_data) < VANITY_BYTES + SIGNATURE_BYTES or len(listed) % SIGNER_BYTES:
        raise ValueError(f"extra data of {len(header.extra_data)} bytes is no vanity, list of signers and signature")
    return [listed[start : start + SIGNER_BYTES] for start in range(0, len(listed), SIGNER_BYTES)]
