"""What a client may say to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trisync.client.channels import CHANNEL_OPTIONS
from trisync.credentials import Credentials, CredentialsBad, read_token

NONE = Path("/nonexistent")


@pytest.mark.parametrize(
    ("given", "address", "why"),
    [
        ({}, "10.0.0.1:7450", "the coordinator's address 10.0.0.1:7450 is no loopback address"),
        ({}, "coordinator:7450", "or --insecure where the network itself keeps others out"),
        ({"tls_cert": NONE, "tls_ca": NONE}, "localhost:1", "--tls-cert and --tls-key are needed together"),
        ({"tls_cert": NONE, "tls_key": NONE}, "localhost:1", "needs --tls-ca"),
        ({"tls_ca": NONE}, "localhost:1", "/nonexistent: cannot be read"),
        ({"token_file": NONE}, "localhost:1", "--token-file /nonexistent: cannot be read: No such file"),
        ({"token_file": NONE, "insecure": True}, "10.0.0.1:1", "a token is not sent to 10.0.0.1:1 in plaintext"),
    ],
)
def test_credentials_that_do_not_fit_are_refused_before_anything_is_sent(given: dict[str, Any], address: str, why: str):
    credentials = Credentials(**given)
    for opened in (credentials.open, credentials.open_blocking):
        with pytest.raises(CredentialsBad) as refused:
            opened(address, CHANNEL_OPTIONS)
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)


def test_unix_socket_is_never_tls():
    assert not Credentials(tls_ca=NONE).over_tls("unix:/run/c.sock")
    assert Credentials(tls_ca=NONE).over_tls("127.0.0.1:1")


def test_token_is_one_printable_line(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("  a-token-of-many-letters\n")
    assert read_token(path) == "a-token-of-many-letters"
    for content in ("", "two\nlines", "a b", "ü"):
        path.write_text(content)
        with pytest.raises(CredentialsBad, match="is not one token"):
            read_token(path)
