"""ECIES over secp256k1, and the keys it works on (devp2p `rlpx.md`, section ECIES Encryption).

A sealed message is ephemeral public key (65 bytes) ‖ iv (16) ‖ AES-128-CTR ciphertext ‖ HMAC-SHA256 tag (32).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

RandomBytes = Callable[[int], bytes]
"""A source of that many random bytes; `os.urandom` outside of tests, since keys are made from it."""

UNCOMPRESSED_KEY_PREFIX: Final = 0x04
_KEY_BYTES: Final = 65
_IV_BYTES: Final = 16
_TAG_BYTES: Final = 32

ECIES_OVERHEAD_BYTES: Final = _KEY_BYTES + _IV_BYTES + _TAG_BYTES
"""How much longer a sealed message is than its content."""


class InvalidPublicKey(PeerFault):
    """Bytes that are not a point of the curve."""

    offence = Offence.HANDSHAKE_UNDECODABLE


class CannotOpen(PeerFault):
    """A sealed message that was not made for our key, or was changed on its way."""

    offence = Offence.HANDSHAKE_UNDECODABLE


def seal(recipient: PublicKey, content: bytes, random_bytes: RandomBytes, shared_bytes: bytes = b"") -> bytes:
    """Encrypt `content` for `recipient`; `shared_bytes` are authenticated but not part of the result."""
    ephemeral = generate_key(random_bytes)
    encryption_key, mac_key = _derive_keys(shared_secret(ephemeral, recipient))
    iv = random_bytes(_IV_BYTES)
    ciphertext = iv + Cipher(AES(encryption_key), CTR(iv)).encryptor().update(content)
    return ephemeral.public_key.format(compressed=False) + ciphertext + _tag(mac_key, ciphertext, shared_bytes)


def open_sealed(own: PrivateKey, sealed: bytes, shared_bytes: bytes = b"") -> bytes:
    """The content of a message sealed for `own`. Raises CannotOpen or InvalidPublicKey."""
    if len(sealed) <= ECIES_OVERHEAD_BYTES or sealed[0] != UNCOMPRESSED_KEY_PREFIX:
        raise CannotOpen(f"{len(sealed)} bytes are not an ECIES message")
    ephemeral = _parse_key(sealed[:_KEY_BYTES])
    encryption_key, mac_key = _derive_keys(shared_secret(own, ephemeral))
    ciphertext, tag = sealed[_KEY_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(mac_key, ciphertext, shared_bytes)):
        raise CannotOpen("the tag of an ECIES message is wrong: it was made for another key, or changed")
    decryptor = Cipher(AES(encryption_key), CTR(ciphertext[:_IV_BYTES])).decryptor()
    return decryptor.update(ciphertext[_IV_BYTES:])


def shared_secret(own: PrivateKey, remote: PublicKey) -> bytes:
    """ECDH: the 32-byte x coordinate, unhashed."""
    return remote.multiply(own.secret).format(compressed=False)[1:33]


def generate_key(random_bytes: RandomBytes) -> PrivateKey:
    """A private key drawn from `random_bytes`; the few scalars out of range are drawn again."""
    while True:
        try:
            return PrivateKey(random_bytes(32))
        except ValueError:
            continue


def node_id_of(public_key: PublicKey) -> PeerId:
    """The node id an owner of this key has."""
    return PeerId(public_key.format(compressed=False)[1:])


def public_key_of(node_id: bytes) -> PublicKey:
    """The key behind a node id. Raises InvalidPublicKey."""
    return _parse_key(bytes((UNCOMPRESSED_KEY_PREFIX,)) + node_id)


def _parse_key(encoded: bytes) -> PublicKey:
    try:
        return PublicKey(encoded)
    except ValueError as error:
        raise InvalidPublicKey("a public key is not a point of secp256k1") from error


def _derive_keys(secret: bytes) -> tuple[bytes, bytes]:
    """Encryption key and MAC key: one round of the concatenation KDF gives all 32 bytes needed."""
    keys = hashlib.sha256(b"\0\0\0\1" + secret).digest()
    return keys[:16], hashlib.sha256(keys[16:]).digest()


def _tag(mac_key: bytes, ciphertext: bytes, shared_bytes: bytes) -> bytes:
    return hmac.digest(mac_key, ciphertext + shared_bytes, "sha256")
