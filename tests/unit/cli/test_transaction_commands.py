"""How a transaction is read from what a user gives, and what is shown of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.transactions import Draft
from trisync.cli import main
from trisync.cli.failures import CommandFailed
from trisync.cli.transaction_commands import fate_json, fate_text, pool_text, read_raw, submitted_text
from trisync.transactions import Fate, FateKind, PoolState, SubmittedTransaction

RAW = Draft().raw()
POOL = PoolState("unix:/b.sock", "", True, 7, 2, 3, 900, 4096, 50, 4, 1)


@pytest.mark.parametrize("text", [RAW.hex(), f"0x{RAW.hex()}", f"  0x{RAW.hex()}\n", RAW.hex().upper()])
def test_transaction_is_read_from_hex_from_a_file_and_from_standard_input(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "signed.hex"
    path.write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert read_raw(text) == read_raw(f"@{path}") == read_raw("-") == RAW


@pytest.mark.parametrize("text", ["", "0x", "xyz", "0xabc", "f8 6z"])
def test_what_is_no_hex_is_bad_usage(text: str, capsys: pytest.CaptureFixture[str]):
    assert main(["submit-tx", text, "--coordinator", "127.0.0.1:1"]) == 2
    shown = capsys.readouterr()
    assert "is not a transaction in hex; give an even number of hex digits" in shown.err
    assert shown.err.count("\n") == 1


def test_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(CommandFailed, match=r"none\.hex cannot be read: No such file"):
        read_raw(f"@{tmp_path / 'none.hex'}")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["watch-tx", "0x1234"], "it has 2 bytes, 32 are needed"),
        (["watch-tx", "nonsense"], "is not a transaction's hash in hex"),
        (["pool", "--sender", "me"], "is not an account in hex"),
        (["submit-tx"], "RAWHEX"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("command", [["submit-tx", RAW.hex()], ["watch-tx", "11" * 32], ["pool"]])
def test_question_to_a_node_that_does_not_run_is_one_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*command, "--datadir", str(tmp_path)]) == 1
    assert "no coordinator runs on" in capsys.readouterr().err


def test_what_came_of_a_submitted_transaction_is_told_in_words():
    done = SubmittedTransaction(b"\x11" * 32, b"\x22" * 20, False, b"", 1, True)
    assert submitted_text(done) == f"0x{'11' * 32}: pooled, sent to 1 peer"
    told = submitted_text(replace(done, already_pooled=True, replaced=b"\x33" * 32, sent_to_peers=0, journalled=False))
    assert told.endswith(
        f": pooled before, sent to no peers, in the place of 0x{'33' * 32}, not kept on disk: a restart forgets it"
    )


def test_fates_are_told_in_words_and_as_json():
    pooled = Fate(FateKind.POOLED, 3, True, 0, b"", "")
    assert fate_text(pooled) == "pooled, local, sent to 3 peers"
    assert fate_json(pooled)["block_number"] is None
    included = Fate(FateKind.INCLUDED, 3, True, 9, b"\x11" * 32, "")
    assert fate_text(included) == f"included in block 9 0x{'11' * 32}"
    assert (fate_json(included)["block_number"], fate_json(included)["fate"]) == (9, "included")
    assert fate_text(Fate(FateKind.DROPPED, 0, False, 0, b"", "why not")) == "dropped: why not"
    assert fate_text(Fate(FateKind.UNKNOWN, 0, False, 0, b"", "")) == "not heard of"


def test_pool_is_told_in_words():
    assert pool_text(POOL).startswith("7 of 4096 transactions, 2 of them local, of 3 senders, 900 bytes; 4 peers, ")
    assert "; 1 peer, 0 of them" in pool_text(replace(POOL, peers=1, syncing_peers=0))
    assert pool_text(replace(POOL, peers=0, syncing_peers=0)).endswith("900 bytes; no peers")
    assert pool_text(replace(POOL, accepts_transactions=False)).endswith("accepts none before the first sync is done")
    assert pool_text(replace(POOL, problem="gone")) == "unix:/b.sock: no answer (gone)"
