"""A service's own certificate: opened at the start, shown to whoever connects, read again when it is renewed."""

from __future__ import annotations

import stat
from pathlib import Path

import grpc

from services.shared.runtime.faults import StartRefused
from services.shared.runtime.logs import get_log
from services.shared.runtime.process_options import ProcessOptions
from services.shared.trust.tls_files import TlsFiles, TlsFilesBad, TlsMaterial, TlsWatch
from services.shared.trust.tokens import TokenFile, TokensBad


def open_tls(options: ProcessOptions) -> TlsWatch | None:
    """None where links are in plaintext. Raises StartRefused."""
    if options.tls_ca is None:
        return None
    log = get_log("tls")
    try:
        watch = TlsWatch(TlsFiles(options.tls_ca, options.tls_cert, options.tls_key), log)
    except TlsFilesBad as problem:
        raise StartRefused(str(problem)) from problem
    if options.tls_key is not None and options.tls_key.stat().st_mode & stat.S_IROTH:
        log.warning(
            "every user of this machine can read the private key; take that right away", file=str(options.tls_key)
        )
    return watch


def open_tokens(path: Path | None) -> TokenFile | None:
    """Raises StartRefused."""
    if path is None:
        return None
    try:
        return TokenFile(path, get_log("tokens"))
    except TokensBad as problem:
        raise StartRefused(f"--operator-tokens {problem}") from problem


def server_credentials(tls: TlsWatch, *, ask_certificate: bool = True) -> grpc.ServerCredentials:
    """What a TLS port is opened with; every handshake looks whether the files have changed.

    With `ask_certificate` nobody connects without a certificate of our CA.
    """
    shown = tls.current()

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        material = tls.current()
        if material is shown:
            return None
        shown = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(_configuration(shown), newest, ask_certificate)  # type: ignore[arg-type] # None is for what has not changed


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None
    assert material.chain is not None
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.ca)
