"""A seal worker process: reads headers from stdin, writes answers to stdout, ends when stdin does.

`seal_worker THREADS [SIZE_EPOCH SEED_EPOCH]`: with an epoch it builds that ethash cache as it starts, and its
threads share it. Its stdin is a pipe that only the coordinator holds, so it ends with the coordinator however that
ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.clique_seal import recover_signer
from services.sync_coordinator.core.ethash_seal import seal_inputs
from services.sync_coordinator.core.seal_frames import (
    EXIT_UNFIT,
    LENGTH_BYTES,
    SealQuestion,
    decode_request,
    encode_first_bad,
    encode_reply,
    encode_signers,
    payload_length,
)
from services.sync_coordinator.edges.ethash_library import LibraryUnfit, SealVerifier, open_verifier

DONE: Final = 0
BROKEN: Final = 1


def main(arguments: Sequence[str]) -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    threads, *epoch = map(int, arguments)
    worker = SealWorker(threads, sys.stdout.buffer)
    if epoch:
        worker.open_epoch(*epoch)
    worker.serve(sys.stdin.buffer)
    # Without the library's clean-up, which would free the cache under threads that still work.
    os._exit(DONE)


class SealWorker:
    """Answers as threads come to it, in any order."""

    def __init__(self, threads: int, replies: BinaryIO) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="seals")
        self._replies = replies
        self._writing = threading.Lock()
        self._verifier: Future[SealVerifier] = Future()

    def open_epoch(self, size_epoch: int, seed_epoch: int) -> None:
        """Questions about ethash seals wait until the cache is built."""
        self._verifier = self._threads.submit(open_verifier, size_epoch, seed_epoch)

    def serve(self, requests: BinaryIO) -> None:
        """Take request by request until `requests` ends."""
        while len(prefix := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
            self._threads.submit(self._answer, requests.read(payload_length(prefix)))

    def _answer(self, payload: bytes) -> None:
        """A thread's error must not be lost in its future, so it ends the process."""
        try:
            request_id, question, headers = decode_request(payload)
            reply = encode_reply(request_id, self._reply_to(question, headers))
            with self._writing:
                self._replies.write(reply)
                self._replies.flush()
        except BrokenPipeError:
            os._exit(DONE)
        except LibraryUnfit as problem:
            print(problem, file=sys.stderr, flush=True)
            os._exit(EXIT_UNFIT)
        except BaseException:  # noqa: BLE001 - reported, and the end of the process
            traceback.print_exc()
            os._exit(BROKEN)

    def _reply_to(self, question: SealQuestion, headers: Sequence[Header]) -> bytes:
        match question:
            case SealQuestion.FIRST_BAD:
                return encode_first_bad(first_bad_seal(headers, self._verifier.result()))
            case SealQuestion.SIGNERS:
                return encode_signers([recover_signer(header) for header in headers])


def first_bad_seal(headers: Sequence[Header], is_sealed: SealVerifier) -> int:
    """Index of the first header whose nonce or mix hash is wrong, or -1."""
    for index, header in enumerate(headers):
        if not is_sealed(seal_inputs(header)):
            return index
    return -1


if __name__ == "__main__":
    main(sys.argv[1:])
