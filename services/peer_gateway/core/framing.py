"""RLPx frames: messages to encrypted, authenticated bytes and back (devp2p `rlpx.md`, section Framing).

A frame is header (16 bytes) ‖ header MAC (16) ‖ content padded to 16 ‖ content MAC (16). Cipher and
MAC run on from frame to frame, so frames are read and written in order and one that fails ends it all.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from services.shared.ethwire.faults import MalformedRlp, PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.rlp_slices import encode_uint, item_span, uint_payload

MAX_FRAME_BYTES: Final = 2**24 - 1
"""The size of a frame's content is sent in 24 bits."""

CODE_BYTES: Final = 9
"""At most what a message code takes at the start of a frame's content: a 64-bit RLP integer."""

_BLOCK_BYTES: Final = 16
_HEADER_BYTES: Final = 2 * _BLOCK_BYTES
_HEADER_REST: Final = b"\xc2\x80\x80".ljust(_BLOCK_BYTES - 3, b"\0")
"""Header bytes after the size: capability id and context id, both zero and not looked at, then padding."""

_ZERO_IV: Final = bytes(_BLOCK_BYTES)
"""The key is used for one connection only, so the stream may start anywhere."""


class MacHash(Protocol):
    """A running hash; `digest` does not end it."""

    def update(self, chunk: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Secrets(NamedTuple):
    """What the encryption handshake leaves to the frames. The MAC states belong to one connection."""

    aes_key: bytes
    mac_key: bytes
    egress_mac: MacHash
    ingress_mac: MacHash


class Frame(NamedTuple):
    """One message as it crossed the wire; `payload` is still compressed where snappy is on."""

    code: int
    payload: bytes


class WrongMac(PeerFault):
    """A frame that was changed on its way, or made with other keys."""

    offence = Offence.FRAME_CORRUPT

    def __init__(self, part: str) -> None:
        super().__init__(f"the MAC of a frame's {part} is wrong")
        self.part = part


class FrameTooLarge(PeerFault):
    """A frame larger than any message that may come now, known from its header."""

    def __init__(self, size_bytes: int, limit: FrameLimit) -> None:
        super().__init__(f"a frame of {size_bytes} bytes is over the limit of {limit.size_bytes}")
        self.offence = limit.offence
        self.size_bytes, self.limit_bytes = size_bytes, limit.size_bytes


class UnreadableCode(PeerFault):
    """A frame without a canonical message code at its start."""

    offence = Offence.FRAME_CORRUPT


class FrameLimit(NamedTuple):
    """The largest frame accepted, and what a larger one is."""

    size_bytes: int
    offence: Offence


NO_FRAME_LIMIT: Final = FrameLimit(MAX_FRAME_BYTES, Offence.FRAME_OVERSIZED)


class _MacChain:
    """One direction's MAC: a running hash, stirred with its own encrypted digest for every value it gives."""

    def __init__(self, mac_key: bytes, state: MacHash) -> None:
        self._state = state
        self._encrypt = Cipher(AES(mac_key), ECB()).encryptor().update  # noqa: S305 one block, as the protocol says

    def header_mac(self, encrypted_header: bytes) -> bytes:
        return self._stir(encrypted_header)

    def absorb(self, ciphertext: bytes | memoryview) -> None:
        self._state.update(ciphertext)

    def content_mac(self) -> bytes:
        return self._stir(self._state.digest()[:_BLOCK_BYTES])

    def _stir(self, seed: bytes) -> bytes:
        encrypted = self._encrypt(self._state.digest()[:_BLOCK_BYTES])
        self._state.update((int.from_bytes(encrypted) ^ int.from_bytes(seed)).to_bytes(_BLOCK_BYTES))
        return self._state.digest()[:_BLOCK_BYTES]


class FrameWriter:
    """Turns messages into frames."""

    def __init__(self, secrets: Secrets) -> None:
        self._encrypt = Cipher(AES(secrets.aes_key), CTR(_ZERO_IV)).encryptor().update
        self._mac = _MacChain(secrets.mac_key, secrets.egress_mac)

    def encode(self, code: int, payload: bytes) -> bytes:
        """The frame of one message. Raises ValueError over the 24-bit size: caller's duty to stay below."""
        code_rlp = encode_uint(code)
        size = len(code_rlp) + len(payload)
        if size > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes does not fit its 24-bit size")
        header = self._encrypt(size.to_bytes(3) + _HEADER_REST)
        header_mac = self._mac.header_mac(header)
        content = self._encrypt(b"".join((code_rlp, payload, bytes(-size % _BLOCK_BYTES))))
        self._mac.absorb(content)
        return b"".join((header, header_mac, content, self._mac.content_mac()))


class FrameReader:
    """Turns bytes, cut anywhere, into frames.

    Content is decrypted and hashed as it arrives, so a large frame costs its time in small parts;
    nothing of it is given out before its MAC is checked. `limit` may be changed between frames.
    """

    def __init__(self, secrets: Secrets, limit: FrameLimit = NO_FRAME_LIMIT) -> None:
        self.limit = limit
        self.is_proven = False
        """Whether a MAC was right: only who took part in the handshake, with the key it was sealed to, can make one."""
        self._decrypt = Cipher(AES(secrets.aes_key), CTR(_ZERO_IV)).decryptor().update
        self._mac = _MacChain(secrets.mac_key, secrets.ingress_mac)
        self._unread = memoryview(b"")
        self._fixed = bytearray()
        self._content = bytearray()
        self._content_missing = 0
        self._frame_size: int | None = None

    def feed(self, received: bytes) -> None:
        """Add what arrived; then call `next_frame` until it gives None."""
        self._unread = memoryview(bytes(self._unread) + received if self._unread else received)

    def next_frame(self) -> Frame | None:
        """The next complete frame. Raises PeerFault; after that this reader is of no use."""
        while True:
            if self._content_missing:
                piece = self._take(self._content_missing)
                if not piece:
                    return None
                self._mac.absorb(piece)
                self._content += self._decrypt(piece)
                self._content_missing -= len(piece)
                continue
            fixed_size = _HEADER_BYTES if self._frame_size is None else _BLOCK_BYTES
            self._fixed += self._take(fixed_size - len(self._fixed))
            if len(self._fixed) < fixed_size:
                return None
            fixed = bytes(self._fixed)
            self._fixed.clear()
            if self._frame_size is not None:
                return self._finish_frame(fixed, self._frame_size)
            self._begin_frame(fixed[:_BLOCK_BYTES], fixed[_BLOCK_BYTES:])

    def _take(self, most: int) -> memoryview:
        piece, self._unread = self._unread[:most], self._unread[most:]
        return piece

    def _begin_frame(self, encrypted_header: bytes, mac: bytes) -> None:
        if not hmac.compare_digest(mac, self._mac.header_mac(encrypted_header)):
            raise WrongMac("header")
        self.is_proven = True
        size = int.from_bytes(self._decrypt(encrypted_header)[:3])
        if size > self.limit.size_bytes:
            raise FrameTooLarge(size, self.limit)
        self._frame_size = size
        self._content_missing = size + -size % _BLOCK_BYTES

    def _finish_frame(self, mac: bytes, size: int) -> Frame:
        if not hmac.compare_digest(mac, self._mac.content_mac()):
            raise WrongMac("content")
        content, self._content, self._frame_size = self._content, bytearray(), None
        start = bytes(content[: min(size, CODE_BYTES)])
        try:
            _, code_end, _ = item_span(start, 0, len(start))
            code = uint_payload(start[:code_end], max_bytes=8)
        except MalformedRlp as fault:
            raise UnreadableCode(f"a frame does not start with a message code: {fault}") from fault
        return Frame(code, bytes(memoryview(content)[code_end:size]))
