"""Node records: what a node says of itself, signed (EIP-778, identity scheme "v4").

record = sign_record(key, seq, {b"ip": …, b"udp": …})
assert parse_record(record.text) == record
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey, PublicKey
from coincurve.ecdsa import cdata_to_der, deserialize_compact

from services.peer_gateway.core.addresses import address_text, packed_address
from services.peer_gateway.core.discv4_faults import RecordInvalid
from services.peer_gateway.core.ecies import node_id_of
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import (
    encode_string,
    encode_uint,
    join_list,
    split_list,
    string_payload,
    uint_payload,
)
from services.shared.ethwire.types import PeerId

MAX_RECORD_BYTES: Final = 300
"""A longer record is refused (EIP-778), so that it fits any packet beside something else."""

TEXT_PREFIX: Final = "enr:"

SCHEME: Final = b"v4"
"""secp256k1 signatures over Keccak-256."""

_SIGNATURE_BYTES: Final = 64
_BASE64: Final = re.compile("[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A record whose signature is right; only `decode_record`, `parse_record` and `sign_record` make one."""

    seq: int
    """Grows with every change: of two records of one node the greater is the newer."""

    pairs: Mapping[bytes, bytes]
    """Each key with its value as encoded RLP, keys in order."""

    node_id: PeerId
    record_rlp: bytes

    @property
    def text(self) -> str:
        return TEXT_PREFIX + base64.urlsafe_b64encode(self.record_rlp).rstrip(b"=").decode()

    @property
    def host(self) -> str | None:
        """The IPv4 address, else the IPv6 one, if the record tells any."""
        return self._host(b"ip", 4) or self._host(b"ip6", 16)

    @property
    def udp_port(self) -> int | None:
        return self._port(b"udp")

    @property
    def tcp_port(self) -> int | None:
        return self._port(b"tcp")

    def _host(self, key: bytes, length: int) -> str | None:
        try:
            packed = string_payload(self.pairs[key])
        except (KeyError, MalformedRlp):
            return None
        return address_text(packed) if len(packed) == length else None

    def _port(self, key: bytes) -> int | None:
        try:
            return uint_payload(self.pairs[key], max_bytes=2)
        except (KeyError, MalformedRlp):
            return None


def sign_record(key: PrivateKey, seq: int, pairs: Mapping[bytes, bytes]) -> NodeRecord:
    """A record of our own; `pairs` hold encoded RLP, and the scheme and the key are added.

    Raises RecordInvalid when it would be too long.
    """
    told = {**pairs, b"id": encode_string(SCHEME), b"secp256k1": encode_string(key.public_key.format())}
    content = [encode_uint(seq)]
    for name in sorted(told):
        content += [encode_string(name), told[name]]
    signature = key.sign_recoverable(keccak256(join_list(content)), hasher=None)[:_SIGNATURE_BYTES]
    return decode_record(join_list([encode_string(signature), *content]))


def endpoint_pairs(host: str, udp_port: int, tcp_port: int) -> dict[bytes, bytes]:
    """The pairs that tell where a node is; without those that are not known."""
    packed = packed_address(host)
    suffix = b"6" if len(packed) == 16 else b""
    ports = {b"udp" + suffix: udp_port, b"tcp" + suffix: tcp_port}
    pairs = {name: encode_uint(port) for name, port in ports.items() if port}
    return {**pairs, b"ip" + suffix: encode_string(packed)} if packed else pairs


def decode_record(record_rlp: bytes) -> NodeRecord:
    """Read a record and check its signature. Raises RecordInvalid."""
    if len(record_rlp) > MAX_RECORD_BYTES:
        raise RecordInvalid(f"it has {len(record_rlp)} bytes, at most {MAX_RECORD_BYTES} are allowed")
    try:
        items = split_list(record_rlp)
        if len(items) < 2 or len(items) % 2:
            raise RecordInvalid(f"{len(items)} items are not a signature, a number, and keys with values")
        signature, seq = string_payload(items[0]), uint_payload(items[1], max_bytes=8)
        names = [string_payload(item) for item in items[2::2]]
        scheme_and_key = dict(zip(names, items[3::2], strict=True))
        if any(first >= second for first, second in itertools.pairwise(names)):
            raise RecordInvalid("its keys are not in order, or one stands twice")
        signer = _signer(scheme_and_key)
    except MalformedRlp as fault:
        raise RecordInvalid(str(fault)) from fault
    _check_signature(signer, signature, keccak256(join_list(items[1:])))
    return NodeRecord(seq, scheme_and_key, node_id_of(signer), record_rlp)


def parse_record(text: str) -> NodeRecord:
    """Read the text form, `enr:` and base64 for URLs without padding. Raises RecordInvalid."""
    encoded = text.removeprefix(TEXT_PREFIX)
    if encoded == text or not _BASE64.fullmatch(encoded):
        raise RecordInvalid(f"{text[:80]!r} is not enr: and base64")
    try:
        return decode_record(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except binascii.Error as problem:
        raise RecordInvalid(f"{text[:80]!r} is not base64") from problem


def _signer(pairs: Mapping[bytes, bytes]) -> PublicKey:
    scheme = string_payload(pairs.get(b"id", b"\x80"))
    if scheme != SCHEME:
        raise RecordInvalid(f"its identity scheme is {scheme!r}, {SCHEME!r} is known")
    try:
        return PublicKey(string_payload(pairs.get(b"secp256k1", b"\x80")))
    except ValueError as problem:
        raise RecordInvalid("its public key is not a point of secp256k1") from problem


def _check_signature(signer: PublicKey, signature: bytes, digest: bytes) -> None:
    if len(signature) != _SIGNATURE_BYTES:
        raise RecordInvalid(f"its signature has {len(signature)} bytes, {_SIGNATURE_BYTES} are needed")
    try:
        is_right = signer.verify(cdata_to_der(deserialize_compact(signature)), digest, hasher=None)
    except ValueError:
        is_right = False
    if not is_right:
        raise RecordInvalid("its signature is not that of its key")
