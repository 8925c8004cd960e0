"""Who calls: read from the certificate, the token, or the kind of connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.shared.rpc.errors import NotIdentified
from services.shared.trust.addresses import is_unix
from services.shared.trust.roles import Access, Role, RoleUnknown, role_of_uris
from services.shared.trust.tokens import TokenFile

SHOWN_CHARACTERS: Final = 200
"""Of any text of a caller's in a log line."""

SCHEME: Final = "Bearer "
"""Before a token in the call's `authorization` (RFC 6750)."""

_PLAINTEXT: Final = b"insecure"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in. `roles` are those it may act as."""

    name: str
    roles: tuple[Role, ...]
    peer: str

    def may(self, access: Access) -> bool:
        return access.everyone or any(access.allows(role) for role in self.roles)

    @property
    def role(self) -> str:
        """In words, for people."""
        return "admin" if self.roles == EVERY_ROLE else "/".join(self.roles)


EVERY_ROLE: Final = tuple(Role)


class CallerCheck:
    """Tells callers apart. Whoever may connect in plaintext may do everything, unless a token is wanted there."""

    def __init__(self, tokens: TokenFile | None = None) -> None:
        self._tokens = tokens

    def caller(self, context: Any) -> Caller:
        """Raises NotIdentified."""
        peer = shown(str(context.peer()))
        auth: Mapping[str, Iterable[bytes]] = context.auth_context()
        token = _token(context.invocation_metadata()) if self._tokens is not None else None
        if token is not None:
            return self._of_token(token, peer)
        if next(iter(auth.get("transport_security_type", ())), _PLAINTEXT) == _PLAINTEXT:
            return self._in_plaintext(peer)
        if "x509_pem_cert" in auth:
            return _of_certificate(auth, peer)
        raise NotIdentified(f"{peer} shows no token; this address wants one (--token-file)")

    def _of_token(self, token: str, peer: str) -> Caller:
        assert self._tokens is not None
        owner = self._tokens.owner(token)
        if owner is None:
            raise NotIdentified(f"the token that {peer} shows is not in the coordinator's token file")
        return Caller(owner.name, (owner.role,), peer)

    def _in_plaintext(self, peer: str) -> Caller:
        # Who may open a unix socket is the file system's to say.
        if self._tokens is None or is_unix(peer):
            return Caller("anyone", EVERY_ROLE, peer)
        raise NotIdentified(f"{peer} shows no token, and without TLS this address wants one (--token-file)")


def _of_certificate(auth: Mapping[str, Iterable[bytes]], peer: str) -> Caller:
    name = shown(_first(auth, "x509_common_name") or "without a name")
    uris = tuple(uri.decode("utf-8", "replace") for uri in auth.get("peer_uri", ()))
    try:
        role = role_of_uris(uris)
    except RoleUnknown as problem:
        raise NotIdentified(f"the certificate {name!r} says not who it is: {problem}") from problem
    return Caller(name, (role,), peer)


def _first(auth: Mapping[str, Iterable[bytes]], key: str) -> str:
    return next(iter(auth.get(key, ())), b"").decode("utf-8", "replace")


def _token(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(SCHEME):
            return value.removeprefix(SCHEME)
    return None


def shown(text: str) -> str:
    """A stranger's text as it may stand in a log line: printable, and not too long."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in text[:SHOWN_CHARACTERS])
    return kept + "…" if len(text) > SHOWN_CHARACTERS else kept
