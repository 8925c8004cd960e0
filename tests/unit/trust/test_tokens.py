"""The token file: its lines, and whose a token is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from services.shared.trust.roles import Role
from services.shared.trust.tokens import MOST_TOKENS, TokenFile, TokenOwner, TokensBad, owner_of, parse_tokens

ALICES = "alices-token-0123456789"
BOBS = "bobs-token-0123456789"
SHA_OF_BOBS = hashlib.sha256(BOBS.encode()).hexdigest()


class Lines:
    """Where a file's reader tells what became of it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.told.append((event, fields))

    warning = info


def test_token_and_digest_say_whose_they_are():
    tokens = parse_tokens(f"# who\n\nadmin:alice:{ALICES}\n  viewer:bob:sha256={SHA_OF_BOBS.upper()}\n", "f")
    assert owner_of(tokens, ALICES) == TokenOwner(Role.ADMIN, "alice")
    assert owner_of(tokens, BOBS) == TokenOwner(Role.VIEWER, "bob")
    for stranger in ("", ALICES[:-1], ALICES + "x", f"sha256={SHA_OF_BOBS}", SHA_OF_BOBS, "ü" * 30, "\udcff"):
        assert owner_of(tokens, stranger) is None


def test_token_may_have_colons():
    assert owner_of(parse_tokens("viewer:bob:a:b:c-0123456789-0123456789", "f"), "a:b:c-0123456789-0123456789")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "has no token"),
        ("# nothing", "has no token"),
        (ALICES, "line 1: not role:name:token"),
        (f"viewer:{ALICES}", "line 1: not role:name:token"),
        (f"root:alice:{ALICES}", "the role 'root' is none of viewer, operator, admin"),
        (f"gateway:alice:{ALICES}", "services have certificates"),
        (f"viewer::{ALICES}", "the name ''"),
        (f"viewer:a b:{ALICES}", "the name 'a b'"),
        ("viewer:bob:short", "20 or more"),
        ("viewer:bob:" + "ü" * 30, "ASCII"),
        ("viewer:bob:with a space 0123456789", "no spaces"),
        ("viewer:bob:sha256=abc", "needs the 64 hex digits"),
        (f"viewer:bob:{BOBS}\nadmin:eve:sha256={SHA_OF_BOBS}", "has one token twice"),
    ],
)
def test_line_that_breaks_a_rule_is_named_without_its_token(line: str, why: str):
    with pytest.raises(TokensBad, match=why) as refused:
        parse_tokens(line, "tokens.txt")
    assert str(refused.value).startswith("tokens.txt")
    assert ALICES not in str(refused.value)
    assert BOBS not in str(refused.value)


def test_no_more_tokens_than_a_call_may_be_compared_with():
    lines = [f"viewer:v{number}:token-number-{number:020}" for number in range(MOST_TOKENS + 1)]
    assert len(parse_tokens("\n".join(lines[:-1]), "f")) == MOST_TOKENS
    with pytest.raises(TokensBad, match="1000 at most"):
        parse_tokens("\n".join(lines), "f")


def test_file_is_read_again_when_it_changes_and_left_alone_while_it_is_bad(tmp_path: Path):
    path, now, lines = tmp_path / "tokens", [0.0], Lines()
    path.write_text(f"admin:alice:{ALICES}\n")
    tokens = TokenFile(path, lines, lambda: now[0])
    path.write_text("nonsense")
    now[0] = 0.9
    assert tokens.owner(ALICES) is not None
    assert lines.told == []
    now[0] = 1.0
    assert tokens.owner(ALICES) is not None
    assert [event for event, _ in lines.told] == ["token file not taken, the tokens before stay in use"]
    path.write_text(f"viewer:bob:{BOBS}\n")
    os.utime(path, ns=(1, 1))
    now[0] = 2.0
    assert tokens.owner(ALICES) is None
    assert tokens.owner(BOBS) == TokenOwner(Role.VIEWER, "bob")
    assert lines.told[1:] == [("token file read again", {"tokens": 1})]
    path.unlink()
    now[0] = 3.0
    assert tokens.owner(BOBS) is not None


def test_absent_file_is_refused(tmp_path: Path):
    with pytest.raises(TokensBad, match="cannot be read: No such file"):
        TokenFile(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(TokensBad, match="not text"):
        TokenFile(tmp_path / "bytes")
