"""Certificates as `trisync certs` makes them, in a test's own directory."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final

from services.shared.trust.tls_files import TlsFiles, utc_now
from trisync.certificate_directory import CertificateDirectory
from trisync.certificates import USUAL_SET, Wanted
from trisync.credentials import Credentials

DAY: Final = datetime.timedelta(days=1)


def make_set(directory: Path, *wanted: Wanted) -> Path:
    """A CA and the usual certificates, or these."""
    CertificateDirectory(directory).create(wanted or USUAL_SET, utc_now(), (DAY, 2 * DAY))
    return directory


def files_of(directory: Path, name: str) -> TlsFiles:
    own = directory / name
    return TlsFiles(own / "ca.crt", own / "tls.crt", own / "tls.key")


def credentials_of(directory: Path, name: str) -> Credentials:
    files = files_of(directory, name)
    return Credentials(tls_ca=files.ca, tls_cert=files.cert, tls_key=files.key)


def flags_of(directory: Path, name: str) -> dict[str, Any]:
    """Fields of a service's configuration."""
    files = files_of(directory, name)
    return {"tls_ca": files.ca, "tls_cert": files.cert, "tls_key": files.key}
