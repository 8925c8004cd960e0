"""What gRPC says when a connection fails in or before the TLS handshake, in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MEANINGS: Final[Mapping[str, str]] = {
    "certificate has expired": "its certificate has expired; renew it there (`trisync certs DIR --renew`)",
    "certificate is not yet valid": "its certificate is not valid yet; see that the clocks agree",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not from our CA; give the CA of its certificate (--tls-ca)",
    "Hostname Verification": (
        "its certificate is for other names than the one dialled; dial one of those, "
        "or make the certificate with this one (`trisync certs --host`)"
    ),
    "WRONG_VERSION_NUMBER": "it speaks plaintext and we TLS; give it certificates, or us no --tls-ca",
}
"""By a part of gRPC's text, the more exact ones first."""

_HUNG_UP: Final = ("Socket closed", "Connection reset", "recvmsg", "GOAWAY")

_NO_CONNECTION: Final = "failed to connect to all addresses"


def handshake_problem(details: str | None, *, over_tls: bool | None) -> str | None:
    """Why no connection came up, where TLS, or the lack of it, is the likely reason; None for anything else.

    `over_tls` is whether we tried TLS; None where that is not known.
    """
    if not details or _NO_CONNECTION not in details:
        return None
    for part, meaning in _MEANINGS.items():
        if part in details:
            return meaning
    if not any(part in details for part in _HUNG_UP):
        return None
    # The side that refuses only hangs up: it owes a stranger no reason.
    if over_tls is None:
        return "it hangs up at once: either only one side speaks TLS, or our certificate is not from its CA or expired"
    if over_tls:
        why = "our certificate (--tls-cert) is missing, has expired, or is not from its CA"
        return f"it hangs up in the TLS handshake: {why}"
    return "it hangs up at once, as a TLS port does on plaintext; give --tls-ca, --tls-cert and --tls-key"
