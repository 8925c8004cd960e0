"""The root worker process: reads peers' replies from the socket at its stdin, writes their digests back.

Only the gateway holds the other end, so the worker ends with the gateway however that ends.
"""

from __future__ import annotations

import signal
import socket

from services.peer_gateway.core.reply_decoding import digest_slices
from services.peer_gateway.core.root_frames import (
    PREFIX_BYTES,
    READY_FRAME,
    decode_prefix,
    decode_request,
    encode_answer,
    encode_fault,
)
from services.shared.ethwire.faults import MalformedRlp
from services.shared.runtime.memory import settle_memory


def main() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    settle_memory()
    with socket.socket(fileno=0) as gateway:
        try:
            serve(gateway)
        except ConnectionError:
            # The gateway died with something of ours unread.
            return


def serve(gateway: socket.socket) -> None:
    """Answer request by request until the other end is closed."""
    gateway.sendall(READY_FRAME)
    while prefix := _receive(gateway, PREFIX_BYTES):
        payload_bytes, code = decode_prefix(prefix)
        gateway.sendall(_answer(code, _receive(gateway, payload_bytes)))


def _answer(code: int, payload: bytes) -> bytes:
    try:
        return encode_answer(b"".join(digest_slices(decode_request(code, payload))))
    except MalformedRlp as fault:
        return encode_fault(fault)


def _receive(gateway: socket.socket, size_bytes: int) -> bytes:
    """Exactly that many bytes, or none at all where the other end was closed before them."""
    received = bytearray(size_bytes)
    view, at = memoryview(received), 0
    while at < size_bytes:
        count = gateway.recv_into(view[at:])
        if count == 0:
            return b""
        at += count
    return bytes(received)


if __name__ == "__main__":
    main()
