"""What is shown of new blocks, and how a block is read from what a user gives."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from tests.support.watched_nodes import relayed
from trisync.blocks import BlockSource, SubmittedBlock
from trisync.cli import main
from trisync.cli.failures import CommandFailed
from trisync.cli.propagation_commands import propagation_json, propagation_sentence, read_block, submitted_sentence
from trisync.node_status import ChainHead

BLOCK_RLP = b"\xf9\x01\x00" + bytes(800)
PROPAGATION = dataclasses.replace(relayed(41), block_hash=b"\x11" * 32)


@pytest.mark.parametrize(
    "content",
    [BLOCK_RLP, BLOCK_RLP.hex().encode(), b"0x" + BLOCK_RLP.hex().encode() + b"\n"],
    ids=["plain", "hex", "0x"],
)
def test_block_is_read_from_a_file_or_from_stdin_whatever_its_form(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "block"
    path.write_bytes(content)
    assert read_block(str(path)) == BLOCK_RLP
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_block("-") == BLOCK_RLP


def test_block_is_read_from_hex_on_the_command_line():
    assert read_block(f"0x{BLOCK_RLP.hex()}") == BLOCK_RLP


def test_nothing_to_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["submit-block", "none.rlp", "--coordinator", "unix:/nowhere"]) == 1
    assert (
        "none.rlp: no such file or directory; give a file, - for stdin, or the block's hex" in capsys.readouterr().err
    )
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(CommandFailed, match="there is no block in it"):
        read_block(str(tmp_path / "empty"))


def test_a_number_is_no_name_of_a_block_that_spread(capsys: pytest.CaptureFixture[str]):
    assert main(["propagation", "41", "--coordinator", "unix:/nowhere"]) == 2
    assert "blocks spread by hash" in capsys.readouterr().err


def test_submitted_block_is_told_with_its_place_and_who_heard_of_it():
    head = ChainHead(b"\x11" * 32, 41, 1000)
    imported = submitted_sentence(SubmittedBlock(head, True, True, 4, 3))
    assert imported.endswith("imported on the head's chain (total difficulty 1000), sent to 4 peers, announced to 3")
    assert "on a side chain" in submitted_sentence(SubmittedBlock(head, True, False, 4, 3))
    assert submitted_sentence(SubmittedBlock(head, False, True, 0, 0)).endswith(
        "is stored already; nobody was told again"
    )


def test_a_blocks_way_is_one_line_with_its_stages_from_the_first_sight_on():
    line = propagation_sentence(PROPAGATION)
    assert line.startswith("1970-01-01 00:00:01.500000  41  0x1111")
    assert "  peer 4141414141414141…  valid +2.5 ms, sent +3.0 ms, imported +10.0 ms  " in line
    assert line.endswith("sent to 4 of 9, announced to 5")


def test_what_has_not_happened_is_left_out_or_null():
    own = dataclasses.replace(PROPAGATION, source=BlockSource.SUBMITTED, first_seen_us=None, first_seen_from=b"")
    assert "  submitted  valid +0.0 ms, " in propagation_sentence(own)
    told = propagation_json(own)
    assert (told["first_seen_us"], told["first_seen_from"], told["source"]) == (None, None, "submitted")
