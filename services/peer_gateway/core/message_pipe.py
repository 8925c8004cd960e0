"""Whole messages over frames: size limits per kind of message, and snappy once both sides speak it."""

from __future__ import annotations

from typing import Final

from services.peer_gateway.core import snappy_codec
from services.peer_gateway.core.devp2p import MAX_BASE_MESSAGE_BYTES, SUBPROTOCOL_OFFSET, BaseCode
from services.peer_gateway.core.framing import CODE_BYTES, Frame, FrameLimit, FrameReader, FrameWriter, Secrets
from services.shared.ethwire.eth_messages import MessageTooLarge
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from services.shared.ethwire.offences import Offence

HELLO_FRAME_LIMIT: Final = FrameLimit(CODE_BYTES + MAX_BASE_MESSAGE_BYTES, Offence.FRAME_OVERSIZED)
"""Before Hello only base messages may come, so a stranger cannot make us hold more."""

OPEN_FRAME_LIMIT: Final = FrameLimit(
    CODE_BYTES + MAX_ETH_MESSAGE_BYTES + MAX_ETH_MESSAGE_BYTES // 6 + 32, Offence.ETH_MESSAGE_OVERSIZED
)
"""The largest eth message, grown by as much as snappy may make incompressible bytes grow."""


class BaseMessageTooLarge(PeerFault):
    """A base message over its limit, counted after decompression."""

    offence = Offence.BASE_MESSAGE_OVERSIZED

    def __init__(self, code: int, size_bytes: int) -> None:
        super().__init__(f"base message 0x{code:02x} of {size_bytes} bytes is over {MAX_BASE_MESSAGE_BYTES}")
        self.code, self.size_bytes = code, size_bytes


class UndecodableEthMessage(PeerFault):
    """An eth message that is not a snappy block."""

    offence = Offence.ETH_MESSAGE_UNDECODABLE


class MessagePipe:
    """Both directions of an encrypted link, uncompressed until `hellos_exchanged`."""

    def __init__(self, secrets: Secrets) -> None:
        self._reader = FrameReader(secrets, HELLO_FRAME_LIMIT)
        self._writer = FrameWriter(secrets)
        self._is_compressed = False

    @property
    def is_compressed(self) -> bool:
        return self._is_compressed

    @property
    def is_proven(self) -> bool:
        """Whether a frame came that only the owner of the other side's key can have made."""
        return self._reader.is_proven

    def hellos_exchanged(self, *, is_compressed: bool) -> None:
        """From the next message on, either way, other limits hold and snappy may be on."""
        self._reader.limit = OPEN_FRAME_LIMIT
        self._is_compressed = is_compressed

    def encode(self, code: int, payload: bytes | snappy_codec.Payload) -> bytes:
        """The bytes of one message. Raises ValueError when it does not fit 24 bits."""
        if len(payload) > snappy_codec.MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(payload)} bytes does not fit its 24-bit size")
        if isinstance(payload, snappy_codec.Payload):
            return self._writer.encode(code, payload.compressed() if self._is_compressed else payload.plain)
        return self._writer.encode(code, snappy_codec.deflate(payload) if self._is_compressed else payload)

    def feed(self, received: bytes) -> None:
        """Add what arrived; then call `next_message` until it gives None."""
        self._reader.feed(received)

    def next_message(self) -> Frame | None:
        """The next complete message, uncompressed and within its limit. Raises PeerFault."""
        frame = self._reader.next_frame()
        if frame is None:
            return None
        return _inflate(frame) if self._is_compressed else _checked(frame)


def _inflate(frame: Frame) -> Frame:
    try:
        _check_size(frame.code, snappy_codec.declared_size(frame.payload))
        return Frame(frame.code, snappy_codec.inflate(frame.payload))
    except (snappy_codec.CorruptCompression, BaseMessageTooLarge) as fault:
        if frame.code == BaseCode.DISCONNECT:
            # Some clients never compress it, and no uncompressed reason reads as a snappy block.
            return _checked(frame)
        if frame.code >= SUBPROTOCOL_OFFSET:
            raise UndecodableEthMessage(str(fault)) from fault
        raise


def _checked(frame: Frame) -> Frame:
    _check_size(frame.code, len(frame.payload))
    return frame


def _check_size(code: int, size_bytes: int) -> None:
    if code >= SUBPROTOCOL_OFFSET:
        if size_bytes > MAX_ETH_MESSAGE_BYTES:
            raise MessageTooLarge(size_bytes)
    elif size_bytes > MAX_BASE_MESSAGE_BYTES:
        raise BaseMessageTooLarge(code, size_bytes)
