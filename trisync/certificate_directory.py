"""A directory of certificates: the CA's, and one directory for each certificate with what its owner needs.

`ca.crt`, `ca.key`, and below each name `tls.crt`, `tls.key` and `ca.crt`, as in a Kubernetes secret of the kind TLS.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trisync.certificates import Authority, CertificatesBad, Pair, Wanted

CERTIFICATE, KEY, CA, CA_KEY = "tls.crt", "tls.key", "ca.crt", "ca.key"

PRIVATE, PUBLIC = 0o600, 0o644

PRIVATE_DIRECTORY: Final = 0o700


class CertificateDirectory:
    """What is made is written only when all of it could be made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(
        self, wanted: Sequence[Wanted], now: datetime.datetime, lifetimes: tuple[datetime.timedelta, datetime.timedelta]
    ) -> list[Path]:
        """A CA and these certificates; `lifetimes` are theirs and the CA's. Raises CertificatesBad and OSError."""
        _refuse_shared(self.path)
        self._refuse_present([CA, CA_KEY, *(one.name for one in wanted)])
        lifetime, ca_lifetime = lifetimes
        authority = Authority.create(now, ca_lifetime)
        pairs = {one.name: authority.issue(one, now, lifetime) for one in wanted}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(self.path)
        written = [
            _write(self.path / CA, authority.pair.certificate, PUBLIC),
            _write(self.path / CA_KEY, authority.pair.key, PRIVATE),
        ]
        return [*written, *self._write_pairs(pairs, authority)]

    def add(self, wanted: Sequence[Wanted], now: datetime.datetime, lifetime: datetime.timedelta) -> list[Path]:
        """Further certificates of the CA that is here. Raises CertificatesBad and OSError."""
        self._refuse_present([one.name for one in wanted])
        authority = self._authority()
        return self._write_pairs({one.name: authority.issue(one, now, lifetime) for one in wanted}, authority)

    def renew(self, now: datetime.datetime, lifetime: datetime.timedelta) -> list[Path]:
        """New keys and dates for all certificates that are here; the CA stays. Raises CertificatesBad and OSError."""
        authority, pairs = self._authority(), {}
        for path in sorted(self.path.glob(f"*/{CERTIFICATE}")):
            try:
                pairs[path.parent.name] = authority.renew(path.read_bytes(), now, lifetime)
            except CertificatesBad as problem:
                raise CertificatesBad(f"{path}: {problem}") from problem
        if not pairs:
            raise CertificatesBad(f"{self.path}: there is no certificate to renew")
        return self._write_pairs(pairs, authority)

    def _write_pairs(self, pairs: dict[str, Pair], authority: Authority) -> list[Path]:
        written = []
        for name, pair in pairs.items():
            directory = self.path / name
            _make_private(directory)
            written.append(_write(directory / CA, authority.pair.certificate, PUBLIC))
            written.append(_write(directory / KEY, pair.key, PRIVATE))
            written.append(_write(directory / CERTIFICATE, pair.certificate, PUBLIC))
        return written

    def _authority(self) -> Authority:
        _refuse_shared(self.path)
        certificate, key = self.path / CA, self.path / CA_KEY
        for path in (certificate, key):
            if not path.is_file():
                raise CertificatesBad(f"{path} is not there; make the set first, without --renew and --add")
        return Authority(Pair(certificate.read_bytes(), key.read_bytes()))

    def _refuse_present(self, names: Sequence[str]) -> None:
        for name in names:
            # A link that leads nowhere is there too.
            if (path := self.path / name).exists() or path.is_symlink():
                raise CertificatesBad(f"{path} is there already and is not overwritten; --renew renews what is here")


def _make_private(path: Path) -> None:
    """A directory of our own; one that is there stays as it is, unless others could change what is in it."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY)
    except FileExistsError:
        _refuse_shared(path)
    else:
        # Whatever the umask takes away, which may be our own access.
        path.chmod(PRIVATE_DIRECTORY)


def _refuse_shared(path: Path) -> None:
    """Raises CertificatesBad where another user could put a CA or a key of his own in the place of ours."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise CertificatesBad(f"{path} is no directory; choose another")
    if found.st_uid != os.geteuid():
        raise CertificatesBad(f"{path} belongs to another user, who could replace what is in it; choose another")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CertificatesBad(f"{path} can be written by other users; take that away (chmod go-w), or choose another")


def _write(path: Path, content: bytes, mode: int) -> Path:
    """All or nothing: who reads the file meanwhile has the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        # Whatever the umask takes away: services of another user read a certificate, never a key.
        os.fchmod(descriptor, mode)
    beside.replace(path)
    return path
