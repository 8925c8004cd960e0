"""One seal worker process as the coordinator sees it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_seal import epoch_of
from services.sync_coordinator.core.seal_frames import (
    REPLY_HEAD_BYTES,
    SealQuestion,
    SealReplyHead,
    decode_first_bad,
    decode_reply_head,
    decode_signers,
    encode_request,
)

WORKER_MODULE: Final = "services.sync_coordinator.edges.seal_worker"

CLOSE_TIMEOUT_S: Final = 2.0
"""How long a worker may take to finish its chunk at shutdown before it is killed."""


class SealProcessDied(Exception):
    """The process ended before it answered."""


class SealProcess:
    """A worker that starts when first asked and again after it died.

    Caller's duty: one question at a time. A cancelled question is fine; its late answer is skipped.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._process: Process | None = None
        self._head: SealReplyHead | None = None
        self._last_id = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def first_bad(self, headers: Sequence[Header]) -> int:
        """Index of the first wrong seal, or -1. All headers are of one ethash epoch. Raises SealProcessDied."""
        self.epoch = epoch_of(headers[0].number)
        return decode_first_bad(await self._ask(SealQuestion.FIRST_BAD, headers))

    async def signers(self, headers: Sequence[Header]) -> list[bytes]:
        """Who sealed each of these clique headers. Raises SealProcessDied."""
        return decode_signers(await self._ask(SealQuestion.SIGNERS, headers))

    async def _ask(self, question: SealQuestion, headers: Sequence[Header]) -> bytes:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self._last_id = (self._last_id + 1) % 2**32
        try:
            process.stdin.write(encode_request(self._last_id, question, headers))
            await process.stdin.drain()
            while True:
                request_id, answer = await self._read_reply(process.stdout)
                if request_id == self._last_id:
                    return answer
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._process, self._head, self.epoch = None, None, None
            status = await process.wait()
            raise SealProcessDied(f"a seal worker ended with status {status}") from error

    async def _read_reply(self, replies: asyncio.StreamReader) -> tuple[int, bytes]:
        """The next reply. A head that was read is kept: the question may be cancelled before the answer follows."""
        if self._head is None:
            self._head = decode_reply_head(await replies.readexactly(REPLY_HEAD_BYTES))
        answer = await replies.readexactly(self._head.answer_bytes)
        request_id, self._head = self._head.request_id, None
        return request_id, answer

    async def close(self) -> None:
        """End the process: it stops by itself when its input ends."""
        self._closed = True
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self) -> Process:
        """Its own session keeps the terminal's Ctrl-C away from it, from its first instruction on."""
        if self._closed:
            raise SealProcessDied("the seal workers are closed")
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", WORKER_MODULE, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        except OSError as error:
            raise SealProcessDied(f"a seal worker cannot be started: {error}") from error
        return self._process
