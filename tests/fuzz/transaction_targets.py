"""Decoders of transactions: as peers and operators give them, in bodies, in the journal, and the tokens of pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.broadcaster.core.transaction import decode_transaction, raw_of, wire_of
from services.broadcaster.core.transaction_check import Refused, check_transaction
from services.broadcaster.edges.checking_thread import read_body
from services.broadcaster.edges.local_journal import JOURNAL_NAME, LocalJournal
from services.broadcaster.edges.transaction_servicer import place_from_token
from services.shared.ethwire.bodies import transaction_hash
from services.shared.ethwire.faults import MalformedRlp
from services.shared.rpc.errors import InvalidRequest
from tests.fuzz.target import Target
from tests.support.ruled_chain import GENESIS
from tests.support.transaction_blocks import block_with
from tests.support.transactions import RULES, Draft

LISTED = ((b"\x01" * 20, (b"\x02" * 32, b"\x03" * 32)),)
DRAFTS = (
    Draft(),
    Draft(chain_id=None, data=b"\x01" * 60, gas_limit=60_000),
    Draft(recipient=b"", gas_limit=60_000),
    Draft(kind=1, gas_limit=60_000, access_list=LISTED),
    Draft(kind=2, tip=7),
)


def transaction_targets() -> Iterator[Target]:
    wires = [draft.wire() for draft in DRAFTS]
    yield Target("transaction", _transaction, (MalformedRlp,), wires)
    yield Target("transaction-check", _check, (Refused,), wires)
    yield Target("transaction-raw", _raw, (Refused,), [draft.raw() for draft in DRAFTS])
    yield Target("block-transactions", read_body, (MalformedRlp,), [block_with(GENESIS, wires).body_rlp])
    yield Target(
        "page-token",
        lambda tried: place_from_token(tried.decode(errors="replace")),
        (InvalidRequest,),
        [b"00" * 20 + b"-7"],
    )
    directory = tempfile.TemporaryDirectory()
    lines = (
        b"".join(wire.hex().encode() + b"\n" for wire in wires)
        + b"-"
        + transaction_hash(wires[0]).hex().encode()
        + b"\n"
    )

    def journal(tried: bytes) -> None:
        (Path(directory.name) / JOURNAL_NAME).write_bytes(tried)
        for wire in LocalJournal(Path(directory.name)).read().transactions:
            decode_transaction(wire)

    yield Target("local-journal", journal, (), [lines])


def _transaction(wire: bytes) -> None:
    transaction = decode_transaction(wire)
    assert transaction.hash == transaction_hash(wire)
    assert wire_of(raw_of(wire)) == wire


def _check(wire: bytes) -> None:
    assert len(check_transaction(wire, replace(RULES, has_london=True)).sender) == 20


def _raw(raw: bytes) -> None:
    _check(wire_of(raw))
