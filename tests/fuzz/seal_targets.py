"""Decoders of clique seals: the signature in a header's extra data, and the snapshot that the store keeps."""

from __future__ import annotations

from collections.abc import Iterator

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.sync_coordinator.core.clique_codec import decode_snapshot, encode_snapshot
from services.sync_coordinator.core.clique_seal import recover_signer
from services.sync_coordinator.core.clique_shape import SIGNER_BYTES
from services.sync_coordinator.core.clique_snapshot import genesis_snapshot
from tests.fuzz.target import Target
from tests.support.clique_chain import CliqueMaker, clique_genesis


def seal_targets() -> Iterator[Target]:
    maker = CliqueMaker(clique_genesis("ABC"))
    maker.grow("A", "D", add=True)
    header_rlps = [header.header_rlp for header in maker.headers]
    yield Target("clique-seal", _signer, (MalformedRlp,), header_rlps)
    yield Target("clique-genesis", _genesis, (MalformedRlp, ValueError), header_rlps[:1])
    yield Target("clique-snapshot", _snapshot, (ValueError,), [encode_snapshot(maker.snapshot)])


def _signer(header_rlp: bytes) -> None:
    assert len(recover_signer(decode_header(header_rlp))) == SIGNER_BYTES


def _genesis(header_rlp: bytes) -> None:
    assert genesis_snapshot(decode_header(header_rlp)).signers


def _snapshot(value: bytes) -> None:
    assert encode_snapshot(decode_snapshot(value)) == value
