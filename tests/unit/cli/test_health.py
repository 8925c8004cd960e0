"""Which service `trisync health` asks."""

from __future__ import annotations

import json

import pytest

from trisync.health import BAD_USAGE, UNHEALTHY, main, own_address


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("0.0.0.0:7450", "127.0.0.1:7450"),
        ("[::]:7450", "[::1]:7450"),
        (":7450", "127.0.0.1:7450"),
        ("10.0.0.7:7450, 0.0.0.0:1", "10.0.0.7:7450"),
        ("unix:/run/c.sock", "unix:/run/c.sock"),
        ("", None),
    ],
)
def test_own_address_is_where_the_service_is_told_to_listen(listen: str, asked: str | None):
    assert own_address({"TRISYNC_LISTEN": listen}) == asked


def test_no_address_at_all_is_bad_usage(capsys: pytest.CaptureFixture[str]):
    assert main([], {}) == BAD_USAGE
    assert "give one address" in capsys.readouterr().err


def test_word_that_is_no_address_is_bad_usage(capsys: pytest.CaptureFixture[str]):
    assert main(["coordinator"], {}) == BAD_USAGE
    assert capsys.readouterr().err == "trisync: 'coordinator' is neither host:port nor unix:/path\n"


def test_nobody_there_is_unhealthy_in_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["127.0.0.1:1"], {}) == UNHEALTHY
    assert capsys.readouterr().err == "trisync: 127.0.0.1:1 does not answer: unavailable\n"


def test_programs_are_told_in_json(capsys: pytest.CaptureFixture[str]):
    assert main(["127.0.0.1:1"], {}, as_json=True) == UNHEALTHY
    told = json.loads(capsys.readouterr().out)
    assert told == {"address": "127.0.0.1:1", "serving": False, "problem": "127.0.0.1:1 does not answer: unavailable"}
