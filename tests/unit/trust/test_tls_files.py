"""Certificate files: what is refused, and what happens when they change."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.broadcaster.config import BroadcasterConfig
from services.shared.runtime.credentials import open_tls, open_tokens
from services.shared.runtime.faults import StartRefused
from services.shared.trust.roles import Role
from services.shared.trust.tls_files import TlsFiles, TlsFilesBad, TlsWatch, read_material, utc_now
from tests.support.certificates import files_of, make_set
from tests.unit.trust.test_tokens import Lines
from trisync.certificate_directory import CertificateDirectory
from trisync.certificates import Wanted

COORDINATOR = Wanted("coordinator", Role.COORDINATOR, ("coordinator",))
VIEWER = Wanted("viewer", Role.VIEWER)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return files_of(make_set(tmp_path / "set", COORDINATOR, VIEWER), "coordinator")


def test_files_that_fit_together_are_taken(files: TlsFiles):
    material = read_material(files, utc_now())
    assert (material.ca, material.chain, material.key) == tuple(path.read_bytes() for path in files.paths)
    assert read_material(TlsFiles(files.ca), utc_now()).key is None


def spoil_ca(files: Any) -> Any:
    files.ca.write_text("no certificate")
    return files.ca


def half_a_certificate(files: Any) -> Any:
    files.cert.write_bytes(files.cert.read_bytes()[:-40])
    return files.cert


def empty_key(files: Any) -> Any:
    files.key.write_bytes(b"")
    return files.key


def key_of_another(files: Any) -> Any:
    files.key.write_bytes((files.key.parents[1] / "viewer" / "tls.key").read_bytes())
    return files.key


def no_key(files: Any) -> Any:
    files.key.unlink()
    return files.key


@pytest.mark.parametrize("spoil", [spoil_ca, half_a_certificate, empty_key, key_of_another, no_key])
def test_file_that_is_bad_is_named_at_the_start_and_left_alone_later(files: TlsFiles, spoil: Callable[[Any], Any]):
    now, lines = [0.0], Lines()
    watch = TlsWatch(files, lines, lambda: now[0])
    before, wholesome = watch.current(), {path: path.read_bytes() for path in files.paths}
    spoilt = spoil(files)
    with pytest.raises(TlsFilesBad, match=f"^{spoilt}: "):
        read_material(files, utc_now())
    for now[0] in (1.0, 2.0, 3.0):
        assert watch.current() is before
    [(event, fields)] = lines.told
    assert event == "certificate files not taken, the ones before stay in use"
    assert str(fields["why"]).startswith(str(spoilt))
    spoilt.write_bytes(wholesome[spoilt])
    now[0] = 4.0
    assert watch.current().chain == before.chain


def test_renewed_files_are_taken_at_the_next_look_and_told_of(files: TlsFiles):
    now, lines = [0.0], Lines()
    watch = TlsWatch(files, lines, lambda: now[0])
    before = watch.current()
    CertificateDirectory(files.ca.parents[1]).renew(utc_now(), datetime.timedelta(days=1))
    now[0] = 0.9
    assert watch.current() is before
    now[0] = 1.0
    after = watch.current()
    assert after.chain != before.chain
    assert [event for event, _ in lines.told] == ["certificate files read again"]
    now[0] = 2.0
    assert watch.current() is after


def test_certificate_is_refused_before_and_after_its_time(files: TlsFiles):
    with pytest.raises(TlsFilesBad, match=r"has expired at .* UTC; renew it"):
        read_material(files, utc_now() + datetime.timedelta(days=2))
    with pytest.raises(TlsFilesBad, match=r"valid only from .* UTC; see that the clock is right"):
        read_material(files, utc_now() - datetime.timedelta(days=2))


def test_certificate_that_ends_soon_is_told_of_once(files: TlsFiles):
    # Valid for a day and an hour: told of in the last third.
    assert read_material(files, utc_now()).notice_from is not None
    CertificateDirectory(files.ca.parents[1]).renew(utc_now(), datetime.timedelta(minutes=10))
    now, lines = [0.0], Lines()
    watch = TlsWatch(files, lines, lambda: now[0])
    for now[0] in (1.0, 2.0):
        watch.current()
    assert [event for event, _ in lines.told] == ["certificate expires soon"]


def test_service_does_not_start_on_files_that_are_bad(files: TlsFiles, tmp_path: Path):
    config = BroadcasterConfig(coordinator="unix:/c", tls_ca=files.ca, tls_cert=files.cert, tls_key=tmp_path / "none")
    with pytest.raises(StartRefused, match=r"/none: cannot be read: No such file or directory"):
        open_tls(config)
    assert open_tls(BroadcasterConfig(coordinator="unix:/c")) is None
    with pytest.raises(StartRefused, match=r"--operator-tokens .*/none: cannot be read"):
        open_tokens(tmp_path / "none")


def test_key_that_everybody_can_read_is_told_of(files: TlsFiles):
    config = BroadcasterConfig(coordinator="unix:/c", tls_ca=files.ca, tls_cert=files.cert, tls_key=files.key)
    with structlog.testing.capture_logs() as lines:
        open_tls(config)
        assert lines == []
        assert files.key is not None
        files.key.chmod(0o644)
        open_tls(config)
    assert [(line["log_level"], line["file"]) for line in lines] == [("warning", str(files.key))]
