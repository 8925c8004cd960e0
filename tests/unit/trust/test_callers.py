"""Who a call's maker is taken for, and what is written of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blocksync.v1 import blocks_pb2, common_pb2, coordinator_pb2

from services.shared.rpc.errors import NotIdentified
from services.shared.runtime.audit import REFUSALS_AT_ONCE, RefusalLines, answer_text
from services.shared.runtime.callers import SHOWN_CHARACTERS, CallerCheck, shown
from services.shared.trust.handshake_failures import handshake_problem
from services.shared.trust.roles import ACCESS, Role
from services.shared.trust.tokens import TokenFile

ATTACH = ACCESS["blocksync.v1.GatewayLinkService/Control"]
ADD_PEER = ACCESS["blocksync.v1.CoordinatorService/AddPeer"]
TOKEN = "a-token-of-many-letters"

PLAIN = {"transport_security_type": [b"insecure"]}
TLS = {"transport_security_type": [b"ssl"]}


def certificate(*uris: str, name: str = "bob") -> dict[str, list[bytes]]:
    uri = {"peer_uri": [one.encode() for one in uris]} if uris else {}
    return {**TLS, "x509_pem_cert": [b"..."], "x509_common_name": [name.encode()], **uri}


class Call:
    """What gRPC tells of a call."""

    def __init__(
        self, auth: dict[str, list[bytes]], *, token: str | None = None, peer: str = "ipv4:10.0.0.9:5"
    ) -> None:
        self._auth, self._peer = auth, peer
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._auth

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> Any:
        return self._metadata


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    (tmp_path / "tokens").write_text(f"operator:alice:{TOKEN}\n")
    return TokenFile(tmp_path / "tokens")


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:5", "unix:", "ipv4:10.0.0.9:5"])
def test_in_plaintext_without_tokens_everyone_may_do_everything(peer: str):
    caller = CallerCheck().caller(Call(PLAIN, peer=peer))
    assert (caller.name, caller.role) == ("anyone", "admin")
    assert caller.may(ATTACH)
    assert all(caller.may(access) for access in ACCESS.values())


def test_certificate_says_name_and_role(tokens: TokenFile):
    for check in (CallerCheck(), CallerCheck(tokens)):
        caller = check.caller(Call(certificate(Role.OPERATOR.uri)))
        assert (caller.name, caller.role, caller.peer) == ("bob", "operator", "ipv4:10.0.0.9:5")
        assert caller.may(ADD_PEER)
        assert not caller.may(ATTACH)


@pytest.mark.parametrize("uris", [(), (Role.ADMIN.uri, Role.VIEWER.uri), ("urn:trisync:role:root",)])
def test_certificate_without_one_role_is_not_let_in(uris: tuple[str, ...]):
    with pytest.raises(NotIdentified, match="the certificate 'bob' says not who it is"):
        CallerCheck().caller(Call(certificate(*uris)))


def test_caller_over_tls_without_certificate_and_token_is_not_let_in(tokens: TokenFile):
    for check in (CallerCheck(), CallerCheck(tokens)):
        with pytest.raises(NotIdentified, match="shows no token"):
            check.caller(Call(TLS))


def test_token_says_who_it_is_wherever_it_is_shown(tokens: TokenFile):
    for auth in (PLAIN, TLS, certificate(Role.VIEWER.uri)):
        caller = CallerCheck(tokens).caller(Call(auth, token=TOKEN))
        assert (caller.name, caller.role) == ("alice", "operator")
    with pytest.raises(NotIdentified, match="not in the coordinator's token file") as refused:
        CallerCheck(tokens).caller(Call(PLAIN, token="an-invented-one-of-letters"))
    assert "an-invented-one" not in str(refused.value)


def test_token_is_no_way_in_where_no_file_has_it():
    assert CallerCheck().caller(Call(certificate(Role.VIEWER.uri), token=TOKEN)).role == "viewer"


def test_with_tokens_only_a_unix_socket_is_open_in_plaintext(tokens: TokenFile):
    beside = CallerCheck(tokens).caller(Call(PLAIN, peer="unix:/run/c.sock"))
    assert beside.may(ATTACH)
    assert beside.may(ADD_PEER)
    assert CallerCheck(tokens).caller(Call(PLAIN, peer="unix:/run/c.sock", token=TOKEN)).name == "alice"
    with pytest.raises(NotIdentified, match="shows no token"):
        CallerCheck(tokens).caller(Call(PLAIN, peer="ipv4:127.0.0.1:5"))


def test_strangers_text_is_printable_and_short():
    assert shown("a\nb\x1b[31m") == "a?b?[31m"
    assert len(shown("x" * 1000)) == SHOWN_CHARACTERS + 1


def test_refused_calls_do_not_fill_the_log():
    now = [0.0]
    lines = RefusalLines(lambda: now[0])
    told = [lines.take() for _ in range(1000)]
    assert told[:REFUSALS_AT_ONCE] == [0] * REFUSALS_AT_ONCE
    assert set(told[REFUSALS_AT_ONCE:]) == {None}
    now[0] = 1.0
    assert lines.take() == 1000 - REFUSALS_AT_ONCE
    assert lines.take() is None


def test_outcome_is_in_the_words_of_the_answer():
    started = coordinator_pb2.StartSyncResponse(explanation="a sync starts")
    assert answer_text(started) == "a sync starts"
    head = common_pb2.ChainHead(number=5, block_hash=b"\x01\x02")
    assert answer_text(blocks_pb2.SubmitBlockResponse(block=head)) == "block 5 0x0102"
    assert answer_text(coordinator_pb2.AddPeerResponse()) == "done"


@pytest.mark.parametrize("over_tls", [True, False, None])
def test_failure_that_is_not_of_the_handshake_has_no_such_meaning(over_tls: bool | None):
    for details in (None, "", "Socket closed", "failed to connect to all addresses; last error: Connection refused"):
        assert handshake_problem(details, over_tls=over_tls) is None
