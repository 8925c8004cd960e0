"""How a client shows who it is, and opens its channel.

    credentials = Credentials(tls_ca=Path("ca.crt"), tls_cert=Path("tls.crt"), tls_key=Path("tls.key"))
    with Coordinator("node.example:7450", credentials) as node:
        print(node.status().head.number)

Files are read when a client is made, and by an AsyncCoordinator again when they change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from services.shared.trust.addresses import is_local, is_unix, plaintext_refusal
from services.shared.trust.handshake_failures import handshake_problem
from services.shared.trust.reloading_channel import Options, ReloadingChannel, channel_credentials
from services.shared.trust.tls_files import TlsFiles, TlsFilesBad, TlsWatch, read_material, utc_now

AUTHORIZATION: Final = "authorization"
"""Where gRPC carries a bearer token (RFC 6750)."""


class CredentialsBad(ValueError):
    """The credentials cannot be used, or not with this address; the text names the value, the rule, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Without any of them the client speaks plaintext, to this machine only unless `insecure`.

    Unix sockets are without TLS in any case.
    """

    tls_ca: Path | None = None
    """PEM file of the CA that the server's certificate is from; with it links are TLS."""

    tls_cert: Path | None = None
    """PEM file of our certificate, which says our role."""

    tls_key: Path | None = None
    """PEM file of the certificate's key."""

    token_file: Path | None = None
    """File with a bearer token, instead of a certificate."""

    insecure: bool = False
    """Speak plaintext to other machines too."""

    def over_tls(self, address: str) -> bool:
        return self.tls_ca is not None and not is_unix(address)

    def open(self, address: str, options: Options) -> grpc.aio.Channel:
        """A channel of asyncio to `host:port` or `unix:/path`. Raises CredentialsBad. Caller's duty: close it."""
        token = self._check(address)
        added = [] if token is None else [_UnaryToken(token), _StreamToken(token)]
        if not self.over_tls(address):
            return grpc.aio.insecure_channel(address, options=options, interceptors=added)
        try:
            return ReloadingChannel(address, TlsWatch(self._files()), options, added)
        except TlsFilesBad as problem:
            raise CredentialsBad(str(problem)) from problem

    def open_blocking(self, address: str, options: Options) -> grpc.Channel:
        """The same without asyncio; renewed files are taken by the next channel."""
        token = self._check(address)
        if self.over_tls(address):
            try:
                material = read_material(self._files(), utc_now())
            except TlsFilesBad as problem:
                raise CredentialsBad(str(problem)) from problem
            channel = grpc.secure_channel(address, channel_credentials(material), options=options)
        else:
            channel = grpc.insecure_channel(address, options=options)
        return channel if token is None else grpc.intercept_channel(channel, _BlockingToken(token))

    def problem_of(self, address: str, details: str | None) -> str | None:
        """Why a call got no connection, where TLS or the lack of it is the likely reason."""
        return handshake_problem(details, over_tls=self.over_tls(address))

    def _files(self) -> TlsFiles:
        assert self.tls_ca is not None
        return TlsFiles(self.tls_ca, self.tls_cert, self.tls_key)

    def _check(self, address: str) -> str | None:
        """The token, if there is one to show. Raises CredentialsBad."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise CredentialsBad(f"{self.tls_cert or self.tls_key}: --tls-cert and --tls-key are needed together")
        if self.tls_cert is not None and self.tls_ca is None:
            raise CredentialsBad(f"--tls-cert {self.tls_cert} needs --tls-ca, the CA of the server's certificate")
        if not self.over_tls(address):
            refusal = None if self.insecure else plaintext_refusal("the coordinator's address", address)
            if refusal is not None:
                raise CredentialsBad(refusal)
            if self.token_file is not None and not is_local(address):
                raise CredentialsBad(
                    f"a token is not sent to {address} in plaintext, where others could read it: give --tls-ca"
                )
        return None if self.token_file is None else read_token(self.token_file)


def read_token(path: Path) -> str:
    """The one line of a token file. Raises CredentialsBad."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise CredentialsBad(
            f"--token-file {path}: cannot be read: {getattr(problem, 'strerror', None) or problem}"
        ) from problem
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsBad(f"--token-file {path}: is not one token in printable ASCII on one line")
    return token


def _with_token(details: Any, token: str) -> Any:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata.add(AUTHORIZATION, f"Bearer {token}")
    return details._replace(metadata=metadata)


class _UnaryToken(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(_with_token(details, self._token), request)


class _StreamToken(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(_with_token(details, self._token), request)


class _BlockingDetails(grpc.ClientCallDetails):
    """As gRPC gives them, with the token among the metadata."""

    def __init__(self, given: Any, token: str) -> None:
        self.method, self.timeout, self.credentials = given.method, given.timeout, given.credentials
        self.wait_for_ready, self.compression = given.wait_for_ready, given.compression
        self.metadata = (*(given.metadata or ()), (AUTHORIZATION, f"Bearer {token}"))


class _BlockingToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(_BlockingDetails(details, self._token), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(_BlockingDetails(details, self._token), request)
