"""As much of HTTP/2 (RFC 9113) as it takes to refuse every gRPC call of a connection in a few microseconds.

Requests are not decoded: that a call begins is all that matters. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import base64
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

FRAME_HEADER_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384
"""As large as a frame may be unless we allow more, which we do not."""

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x8
ACK: Final = 0x1
END_STREAM_AND_HEADERS: Final = 0x5

WINDOW_STEP_BYTES: Final = 16_384
"""The sender's window, 64 KiB, is filled up again after so much."""

MOST_FRAMES_AT_ONCE: Final = 512
"""In what is read at once. Empty frames cost us more than their sender."""

LONGEST_SHORT_STRING: Final = 126
"""A string of HPACK whose length is one byte (RFC 7541, 5.1)."""


class NotHttp2(Exception):
    """What came is no HTTP/2, or more of it than any client needs; the connection is closed."""


def refusal_headers(status: int, message: str, details: bytes) -> bytes:
    """The header block of a gRPC answer that is only a status, in HPACK without Huffman code or tables."""
    encoded = base64.b64encode(details).rstrip(b"=")
    fields = [
        (b"content-type", b"application/grpc"),
        (b"grpc-status", str(status).encode()),
        (b"grpc-message", message.encode("ascii")),
        (b"grpc-status-details-bin", encoded),
    ]
    # The first byte is `:status: 200` of the static table.
    return b"\x88" + b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


class RefusingConnection:
    """One connection. Every call on it gets the same answer."""

    def __init__(self, headers: bytes) -> None:
        self._answer = headers
        self._buffer = bytearray()
        self._greeted = False
        self._consumed = 0

    def receive(self, content: bytes) -> tuple[bytes, int]:
        """What to send now, and how many calls that refuses. Raises NotHttp2."""
        self._buffer += content
        out = bytearray()
        if not self._greeted:
            if not PREFACE.startswith(self._buffer[: len(PREFACE)]):
                raise NotHttp2("not the preface of HTTP/2")
            if len(self._buffer) < len(PREFACE):
                return b"", 0
            del self._buffer[: len(PREFACE)]
            self._greeted = True
            out += frame(SETTINGS, 0, 0, b"")
        calls = frames = at = 0
        while len(self._buffer) - at >= FRAME_HEADER_BYTES:
            size = int.from_bytes(self._buffer[at : at + 3], "big")
            if size > MAX_FRAME_BYTES:
                raise NotHttp2(f"a frame of {size} bytes")
            end = at + FRAME_HEADER_BYTES + size
            if len(self._buffer) < end:
                break
            calls += self._take(bytes(self._buffer[at:end]), out)
            at, frames = end, frames + 1
            if frames > MOST_FRAMES_AT_ONCE:
                raise NotHttp2(f"more than {MOST_FRAMES_AT_ONCE} frames at once")
        del self._buffer[:at]
        if self._consumed >= WINDOW_STEP_BYTES:
            out += frame(WINDOW_UPDATE, 0, 0, self._consumed.to_bytes(4, "big"))
            self._consumed = 0
        return bytes(out), calls

    def _take(self, whole: bytes, out: bytearray) -> int:
        kind, flags, stream = whole[3], whole[4], int.from_bytes(whole[5:9], "big") & 0x7FFFFFFF
        if kind == HEADERS:
            out += frame(HEADERS, END_STREAM_AND_HEADERS, stream, self._answer)
            return 1
        if kind == DATA:
            self._consumed += len(whole) - FRAME_HEADER_BYTES
        elif kind == SETTINGS and not flags & ACK:
            out += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            out += frame(PING, ACK, 0, whole[FRAME_HEADER_BYTES:])
        # Of all else nothing is owed an answer.
        return 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _string(value: bytes) -> bytes:
    """Its length with a seven-bit prefix, then itself."""
    size = len(value)
    if size <= LONGEST_SHORT_STRING:
        return bytes((size,)) + value
    rest, length = size - 127, bytearray(b"\x7f")
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes(length) + value
