"""Makes the certificates of a private deployment: a CA, one certificate for each service, and operators' own."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.shared.trust.roles import SERVICES, Role

BACKDATED: Final = datetime.timedelta(hours=1)
"""Certificates begin so long before now, for machines whose clocks are late."""

NAME_RULE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

OWN_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
"""Names of every service: `trisync health` asks it from its own machine."""


class CertificatesBad(ValueError):
    """The names, or the CA, cannot be used; the text names the value, the rule and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate to make. `hosts` are the names and addresses at which a service is dialled."""

    name: str
    role: Role
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if NAME_RULE.fullmatch(self.name) is None or self.name == "ca":
            raise CertificatesBad(f"{self.name!r} is no name for a certificate: letters, digits, dots, dashes, not ca")


USUAL_SET: Final = (
    Wanted("coordinator", Role.COORDINATOR, ("coordinator", *OWN_MACHINE)),
    Wanted("broadcaster", Role.BROADCASTER, ("broadcaster", *OWN_MACHINE)),
    # Compose and Kubernetes call it by different names.
    Wanted("peer_gateway", Role.GATEWAY, ("peer_gateway", "peer-gateway", *OWN_MACHINE)),
    Wanted("viewer", Role.VIEWER),
    Wanted("operator", Role.OPERATOR),
    Wanted("admin", Role.ADMIN),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A CA that signs."""

    def __init__(self, pair: Pair) -> None:
        """Raises CertificatesBad."""
        self.pair = pair
        try:
            self._certificate = x509.load_pem_x509_certificate(pair.certificate)
            key = load_pem_private_key(pair.key, None)
        except (ValueError, TypeError) as problem:
            raise CertificatesBad("the CA's certificate or key is not PEM") from problem
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._certificate.public_key():
            raise CertificatesBad("the CA's key is not the key of its certificate")
        self._key = key

    @classmethod
    def create(cls, now: datetime.datetime, lifetime: datetime.timedelta) -> Authority:
        """A new one, with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("trisync CA")
        builder = (
            _begun(name, key, now, now + lifetime)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(_signed(builder, key, key))

    @property
    def expires(self) -> datetime.datetime:
        return self._certificate.not_valid_after_utc

    def issue(self, wanted: Wanted, now: datetime.datetime, lifetime: datetime.timedelta) -> Pair:
        """A certificate with a new key, valid no longer than the CA. Raises CertificatesBad."""
        names = [x509.UniformResourceIdentifier(wanted.role.uri), *_host_names(wanted.hosts)]
        return self._issue(wanted.name, names, (now, lifetime), is_service=wanted.role in SERVICES)

    def renew(self, certificate: bytes, now: datetime.datetime, lifetime: datetime.timedelta) -> Pair:
        """The same names and role, with a new key. Raises CertificatesBad."""
        try:
            before = x509.load_pem_x509_certificate(certificate)
            names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            usages = before.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            (common_name,) = before.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (ValueError, x509.ExtensionNotFound) as problem:
            raise CertificatesBad("the certificate is none that `trisync certs` made") from problem
        is_service = ExtendedKeyUsageOID.SERVER_AUTH in usages
        return self._issue(str(common_name.value), list(names), (now, lifetime), is_service=is_service)

    def _issue(
        self,
        name: str,
        names: Sequence[x509.GeneralName],
        valid: tuple[datetime.datetime, datetime.timedelta],
        *,
        is_service: bool,
    ) -> Pair:
        now, lifetime = valid
        if now >= self.expires:
            raise CertificatesBad(f"the CA has expired at {self.expires:%Y-%m-%d}; make a new set in another directory")
        key = ec.generate_private_key(ec.SECP256R1())
        # A service is dialled, and dials; a person only dials, so that nobody can be lured to a person's machine.
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if is_service else [])]
        builder = (
            _begun(_name(name), key, now, min(now + lifetime, self.expires))
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return _signed(builder, key, self._key)


def _host_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", host) is None:
                raise CertificatesBad(f"{host!r} is neither a host name nor an IP address") from None
            names.append(x509.DNSName(host))
    return names


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _begun(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    builder: x509.CertificateBuilder, own: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
    return Pair(certificate, own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
