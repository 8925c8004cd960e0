"""`trisync certs`: what it makes, and what it leaves alone."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.shared.trust.roles import Role, role_of_uris
from services.shared.trust.tls_files import read_material, utc_now
from tests.support.certificates import files_of
from trisync.certificates import USUAL_SET
from trisync.cli import main


def certificate(directory: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / name / "tls.crt").read_bytes())


def names(found: x509.Certificate) -> x509.SubjectAlternativeName:
    return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def role(found: x509.Certificate) -> Role:
    return role_of_uris(tuple(names(found).get_values_for_type(x509.UniformResourceIdentifier)))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    hosts = "coordinator=10.0.0.7,coordinator=node.example"
    assert main(["certs", str(tmp_path / "set"), "--days", "30", "--host", hosts]) == 0
    return tmp_path / "set"


@pytest.mark.parametrize("wanted", USUAL_SET, ids=lambda wanted: wanted.name)
def test_set_has_a_certificate_with_role_and_names_for_each(made: Path, wanted):
    found = certificate(made, wanted.name)
    assert role(found) is wanted.role
    assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == wanted.name
    hosts = names(found).get_values_for_type(x509.DNSName)
    addresses = [str(address) for address in names(found).get_values_for_type(x509.IPAddress)]
    more = {"10.0.0.7", "node.example"} if wanted.name == "coordinator" else set()
    assert {*hosts, *addresses} == {*wanted.hosts, *more}
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) is bool(wanted.hosts)
    ca = x509.load_pem_x509_certificate((made / "ca.crt").read_bytes())
    found.verify_directly_issued_by(ca)
    days = (found.not_valid_after_utc - utc_now()) / datetime.timedelta(days=1)
    assert 29.9 < days < 30.1
    read_material(files_of(made, wanted.name), utc_now())


def test_private_keys_are_for_their_owner_only(made: Path):
    keys = sorted(made.glob("**/*.key"))
    assert len(keys) == len(USUAL_SET) + 1
    assert {mode(key) for key in keys} == {0o600}
    assert {mode(path) for path in made.glob("**/*.crt")} == {0o644}
    assert {mode(path) for path in (made, *made.iterdir()) if path.is_dir()} == {0o700}


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_modes_are_the_same_whatever_the_umask_says(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        assert main(["certs", str(tmp_path / "set")]) == 0
    finally:
        os.umask(before)
    directories = {path for path in (tmp_path / "set").glob("**/*") if path.is_dir()}
    assert {mode(path) for path in directories | {tmp_path / "set"}} == {0o700}
    assert {mode(path) for path in (tmp_path / "set").glob("**/*.key")} == {0o600}


@pytest.mark.parametrize("writable", [0o770, 0o777, 0o1777], ids=oct)
def test_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, writable: int, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "set").mkdir()
    (tmp_path / "set").chmod(writable)
    assert main(["certs", str(tmp_path / "set")]) == 1
    assert "can be written by other users; take that away (chmod go-w)" in capsys.readouterr().err
    assert list((tmp_path / "set").iterdir()) == []


def test_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    mine = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: mine + 1)
    assert main(["certs", str(tmp_path)]) == 1
    assert "belongs to another user" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_links_that_were_put_there_are_not_followed(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    aim = tmp_path / "aim"
    (tmp_path / "new").mkdir(mode=0o755)
    (tmp_path / "new" / "ca.key").symlink_to(aim)
    assert main(["certs", str(tmp_path / "new")]) == 1
    assert "ca.key is there already" in capsys.readouterr().err
    aim.write_text("of somebody else")
    (made / "viewer" / ".tls.key.new").symlink_to(aim)
    (made / "viewer" / "tls.key").unlink()
    (made / "viewer" / "tls.key").symlink_to(aim)
    assert main(["certs", str(made), "--renew"]) == 0
    assert aim.read_text() == "of somebody else"
    assert not (made / "viewer" / "tls.key").is_symlink()


def test_everything_written_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["certs", str(tmp_path / "set")]) == 0
    *written, last = capsys.readouterr().out.splitlines()
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "set").glob("**/*.*"))
    assert last.startswith("valid until ")


def test_nothing_is_overwritten(made: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in made.glob("**/*.*")}
    assert main(["certs", str(made)]) == 1
    assert "ca.crt is there already and is not overwritten; --renew" in capsys.readouterr().err
    assert main(["certs", str(made), "--add", "operator:viewer"]) == 1
    assert "viewer is there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in made.glob("**/*.*")} == before


def test_renewed_certificates_have_new_keys_and_dates_and_the_same_names(made: Path):
    ca, before, key = (
        (made / "ca.crt").read_bytes(),
        certificate(made, "coordinator"),
        (made / "coordinator" / "tls.key").read_bytes(),
    )
    assert main(["certs", str(made), "--renew", "--days", "60"]) == 0
    after = certificate(made, "coordinator")
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert (names(after), after.subject) == (names(before), before.subject)
    assert (made / "coordinator" / "tls.key").read_bytes() != key
    assert (made / "ca.crt").read_bytes() == ca
    assert mode(made / "coordinator" / "tls.key") == 0o600
    assert role(certificate(made, "admin")) is Role.ADMIN


def test_certificates_are_added_by_role_and_name(made: Path):
    words = ["--add", "operator:bob", "--add", "gateway:gateway-2", "--host", "gateway-2=10.0.0.8"]
    assert main(["certs", str(made), *words]) == 0
    assert role(certificate(made, "bob")) is Role.OPERATOR
    assert role(certificate(made, "gateway-2")) is Role.GATEWAY
    assert "gateway-2" in names(certificate(made, "gateway-2")).get_values_for_type(x509.DNSName)
    assert names(certificate(made, "bob")).get_values_for_type(x509.DNSName) == []


def test_certificate_ends_no_later_than_the_ca(tmp_path: Path):
    assert main(["certs", str(tmp_path), "--days", "30", "--ca-days", "10"]) == 0
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    assert certificate(tmp_path, "viewer").not_valid_after_utc == ca.not_valid_after_utc


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--days", "0"], 2, "--days 0 is not in 1..36500"),
        (["--host", "viewer=x"], 2, "there is no service's certificate viewer"),
        (["--host", "coordinator"], 2, "is not NAME=HOST"),
        (["--host", "coordinator=a b"], 1, "'a b' is neither a host name nor an IP address"),
        (["--add", "root:bob"], 2, "is not ROLE:NAME"),
        (["--add", "viewer:../bob"], 2, "no name for a certificate"),
        (["--add", "viewer:ca"], 2, "no name for a certificate"),
        (["--add", "viewer:bob"], 1, "ca.crt is not there; make the set first"),
        (["--renew"], 1, "ca.crt is not there; make the set first"),
        (["--renew", "--add", "viewer:bob"], 2, "leave --add and --host out"),
    ],
)
def test_wrong_words_make_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, why: str
):
    assert main(["certs", str(tmp_path / "set"), *words]) == code
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_foreign_certificate_is_not_renewed(made: Path, capsys: pytest.CaptureFixture[str]):
    (made / "viewer" / "tls.crt").write_text("no certificate")
    before = (made / "coordinator" / "tls.crt").read_bytes()
    assert main(["certs", str(made), "--renew"]) == 1
    assert "viewer/tls.crt: the certificate is none that `trisync certs` made" in capsys.readouterr().err
    assert (made / "coordinator" / "tls.crt").read_bytes() == before


@pytest.mark.parametrize("command", [["status"], ["peers"], ["disconnects"], ["sync"], ["pool"]])
def test_commands_do_not_speak_plaintext_to_another_machine(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "--coordinator", "203.0.113.7:7450"]) == 2
    assert "203.0.113.7:7450 is no loopback address" in capsys.readouterr().err
