"""The seal worker process: reads headers from stdin, writes answers to stdout, ends when stdin does.

Its stdin is a pipe that only the coordinator holds, so it ends with the coordinator however that ends.
The ethash library keeps one epoch's cache per process; the coordinator sends it one epoch at a time.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import BinaryIO

import ethash

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.clique_seal import recover_signer
from services.sync_coordinator.core.ethash_seal import seal_inputs
from services.sync_coordinator.core.seal_frames import (
    LENGTH_BYTES,
    SealQuestion,
    decode_request,
    encode_first_bad,
    encode_reply,
    encode_signers,
    payload_length,
)


def main() -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer request by request until `requests` ends or nobody reads `replies`."""
    while len(prefix := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
        request_id, question, headers = decode_request(requests.read(payload_length(prefix)))
        try:
            replies.write(encode_reply(request_id, answer(question, headers)))
            replies.flush()
        except BrokenPipeError:
            return


def answer(question: SealQuestion, headers: Sequence[Header]) -> bytes:
    match question:
        case SealQuestion.FIRST_BAD:
            return encode_first_bad(first_bad_seal(headers))
        case SealQuestion.SIGNERS:
            return encode_signers([recover_signer(header) for header in headers])


def first_bad_seal(headers: Sequence[Header]) -> int:
    """Index of the first header whose nonce or mix hash is wrong, or -1."""
    for index, header in enumerate(headers):
        if not ethash.verify(*seal_inputs(header)):
            return index
    return -1


if __name__ == "__main__":
    main()
