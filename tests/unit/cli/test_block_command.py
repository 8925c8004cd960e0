"""How `trisync block` reads its argument and shows a block."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tests.support.chain_maker import made_chain
from trisync.cli import main
from trisync.cli.block_command import block_json, block_table, parse_block_name
from trisync.node_status import ChainHead, StoredBlock

CHAIN = made_chain(7)
HEAD = ChainHead(CHAIN.head.hash, 7, CHAIN.total_difficulty)


def stored(*, body: bool = True, canonical: bool = True) -> StoredBlock:
    return StoredBlock(HEAD, CHAIN.head.header_rlp, CHAIN.bodies[7].body_rlp if body else b"", canonical)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0", 0),
        ("18446744073709551615", 2**64 - 1),
        ("0x" + "ab" * 32, b"\xab" * 32),
        ("AB" * 32, b"\xab" * 32),
        ("1" * 64, b"\x11" * 32),
    ],
)
def test_block_is_named_by_number_or_hash(text, name):
    assert parse_block_name(text) == name


@pytest.mark.parametrize("text", ["", "latest", "0x12", "18446744073709551616", "٣", "ab" * 31])
def test_other_names_are_bad_usage(text, capsys):
    assert main(["block", text]) == 2
    assert "is neither a number up to 18446744073709551615 nor a hash of 64 hex digits" in capsys.readouterr().err


def test_json_has_the_header_fields_and_the_rlp():
    shown = json.loads(json.dumps(block_json(stored())))
    assert shown["number"] == 7
    assert shown["hash"] == f"0x{CHAIN.head.hash.hex()}"
    assert shown["parent_hash"] == f"0x{CHAIN.head.parent_hash.hex()}"
    assert (shown["difficulty"], shown["gas_limit"], shown["timestamp"]) == (1000, 5000, 91)
    assert (shown["transactions"], shown["uncles"], shown["canonical"]) == (2, 0, True)
    assert shown["total_difficulty"] == CHAIN.total_difficulty
    assert shown["header_rlp"] == f"0x{CHAIN.head.header_rlp.hex()}"
    assert shown["body_rlp"] == f"0x{CHAIN.bodies[7].body_rlp.hex()}"


def test_what_is_not_stored_is_said():
    found = stored(body=False, canonical=False)
    assert (block_json(found)["transactions"], block_json(found)["body_rlp"]) == (None, None)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(block_table(found))
    lines = dict(line.split(maxsplit=1) for line in capture.get().splitlines())
    assert lines["transactions"].strip() == "not stored"
    assert lines["canonical"].strip() == "no"
