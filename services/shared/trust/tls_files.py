"""Certificate, key and CA in files: read, checked, and read again when they change."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LOOK_EVERY_S: Final = 1.0
"""How often the files are looked at, at most; a look costs some microseconds."""

EXPIRY_NOTICE: Final = datetime.timedelta(days=14)
"""How long before its end a certificate is complained of, or a third of its life where that is shorter."""


class TlsFilesBad(Exception):
    """The files cannot be used; the text names the file, the rule and what to do."""


class EventLog(Protocol):
    """Where is told what became of the files: a structlog logger fits."""

    def info(self, event: str, **fields: object) -> object: ...

    def warning(self, event: str, **fields: object) -> object: ...


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. A caller that shows a token instead of a certificate has only the CA's."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.ca, self.cert, self.key) if path is not None)


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The bytes of files that fit together; `chain` and `key` are None where only the CA was given."""

    ca: bytes
    chain: bytes | None = None
    key: bytes | None = None
    expires: datetime.datetime | None = None
    notice_from: datetime.datetime | None = None


def read_material(files: TlsFiles, now: datetime.datetime) -> TlsMaterial:
    """Read and check the files. Raises TlsFilesBad."""
    ca = _read(files.ca)
    _certificates(files.ca, ca)
    if files.cert is None or files.key is None:
        return TlsMaterial(ca)
    chain, key = _read(files.cert), _read(files.key)
    own = _certificates(files.cert, chain)[0]
    _check_key(files, key, own)
    expires, begins = own.not_valid_after_utc, own.not_valid_before_utc
    if now > expires:
        raise TlsFilesBad(
            f"{files.cert}: the certificate has expired at {expires:%Y-%m-%d %H:%M} UTC; "
            "renew it (`trisync certs DIR --renew`)"
        )
    if now < begins:
        raise TlsFilesBad(
            f"{files.cert}: the certificate is valid only from {begins:%Y-%m-%d %H:%M} UTC; see that the clock is right"
        )
    notice = min(EXPIRY_NOTICE, (expires - begins) / 3)
    return TlsMaterial(ca, chain, key, expires, expires - notice)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise TlsFilesBad(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as problem:
        raise TlsFilesBad(f"{path}: not a certificate in PEM") from problem


def _check_key(files: TlsFiles, pem: bytes, own: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise TlsFilesBad(f"{files.key}: not a private key in PEM without a password") from problem
    as_bytes = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*as_bytes) != own.public_key().public_bytes(*as_bytes):
        raise TlsFilesBad(f"{files.key}: not the key of the certificate {files.cert}")


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


Signature = tuple[tuple[int, int, int] | None, ...]
"""Inode, size and time of each file: when it differs, a file has changed."""


class TlsWatch:
    """The newest files that fit together. What is half-written is left alone until it is whole.

    Called from threads of gRPC and from event loops.
    """

    def __init__(
        self, files: TlsFiles, log: EventLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises TlsFilesBad."""
        self._files, self._log, self._clock = files, log, clock
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._material = read_material(files, utc_now())
        self._complained_of: Signature | None = None
        self._noticed: TlsMaterial | None = None
        self._look_at = clock() + LOOK_EVERY_S
        self._notice_expiry()

    def current(self) -> TlsMaterial:
        with self._lock:
            now = self._clock()
            if now >= self._look_at:
                self._look_at = now + LOOK_EVERY_S
                self._look()
            return self._material

    def _look(self) -> None:
        found = self._signature()
        if found != self._seen:
            self._read_again(found)
        self._notice_expiry()

    def _read_again(self, found: Signature) -> None:
        try:
            material = read_material(self._files, utc_now())
        except TlsFilesBad as problem:
            # Tried again at every look, told of once.
            if found != self._complained_of and self._log is not None:
                self._log.warning("certificate files not taken, the ones before stay in use", why=str(problem))
            self._complained_of = found
            return
        self._seen, self._material = found, material
        if self._log is not None:
            self._log.info("certificate files read again", expires=_shown(material.expires))

    def _notice_expiry(self) -> None:
        due = self._material.notice_from
        if due is None or self._log is None or self._noticed is self._material or utc_now() < due:
            return
        self._noticed = self._material
        path = str(self._files.cert)
        self._log.warning("certificate expires soon", file=path, expires=_shown(self._material.expires))

    def _signature(self) -> Signature:
        return tuple(_stamp(path) for path in self._files.paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _shown(moment: datetime.datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="seconds")
