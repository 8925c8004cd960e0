"""Where the node key comes from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.peer_gateway.edges.node_key import existing_node_key, load_node_key
from services.shared.runtime.faults import ConfigInvalid, StartRefused

KEY = "45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"


def test_key_is_read_from_hex_digits():
    assert load_node_key(KEY, None).secret.hex() == KEY


def test_key_is_read_from_a_file_with_or_without_newline(tmp_path: Path):
    for text in (KEY, KEY.upper() + "\n"):
        (tmp_path / "key").write_text(text)
        assert load_node_key(str(tmp_path / "key"), None).secret.hex() == KEY


def test_missing_file_is_made_for_its_owner_alone_and_kept(tmp_path: Path):
    made = load_node_key(None, tmp_path / "new")
    file = tmp_path / "new" / "nodekey"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == made.secret.hex()
    assert load_node_key(None, tmp_path / "new").secret == made.secret
    assert [entry.name for entry in file.parent.iterdir()] == ["nodekey"]


def test_without_a_place_to_keep_it_every_key_is_new():
    assert load_node_key(None, None).secret != load_node_key(None, None).secret


@pytest.mark.parametrize("content", [b"", b"45a9", KEY.encode() + b"00", b"\xff" * 64], ids=len)
def test_file_that_is_no_key_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(StartRefused, match="is not a node key: 64 hex digits are needed"):
        load_node_key(str(file), None)
    assert file.read_bytes() == content


@pytest.mark.parametrize("digits", ["0" * 64, "f" * 64])
def test_number_that_is_no_key_of_the_curve_is_refused(digits: str):
    with pytest.raises(ConfigInvalid, match="not below the order of secp256k1"):
        load_node_key(digits, None)


def test_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="cannot read the node key"):
        load_node_key(None, tmp_path / "file")


@pytest.mark.parametrize("typo", ["1234", "0x1234", "a" * 63, "b" * 65])
def test_key_with_a_wrong_number_of_digits_is_refused_and_makes_no_file(typo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigInvalid, match="64 are needed"):
        load_node_key(typo, None)
    assert list(tmp_path.iterdir()) == []


def test_key_that_must_be_there_is_read_and_never_made(tmp_path: Path):
    (tmp_path / "key").write_text(KEY)
    assert existing_node_key(str(tmp_path / "key")).secret.hex() == existing_node_key(KEY).secret.hex() == KEY
    with pytest.raises(ConfigInvalid, match="neither 64 hex digits nor a file that is there"):
        existing_node_key(str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()
