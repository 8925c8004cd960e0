"""One seal worker process as the coordinator sees it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_epochs import EthashEpoch
from services.sync_coordinator.core.seal_frames import (
    EXIT_UNFIT,
    REPLY_HEAD_BYTES,
    SealQuestion,
    decode_first_bad,
    decode_reply_head,
    decode_signers,
    encode_request,
)

WORKER_MODULE: Final = "services.sync_coordinator.edges.seal_worker"

CLOSE_TIMEOUT_S: Final = 2.0
"""How long a worker may take to end at shutdown before it is killed."""


class SealProcessDied(Exception):
    """The process ended before it answered."""


class SealProcess:
    """A worker that starts when first asked and again after it died; with an epoch, its cache is built as it starts.

    Many questions may be open; `threads` of them are worked on at once. A cancelled question is fine.
    """

    def __init__(self, threads: int = 1, epoch: EthashEpoch | None = None) -> None:
        self._arguments = [str(threads)]
        if epoch is not None:
            self._arguments += [str(epoch.size_epoch), str(epoch.seed_epoch)]
        self._starting: asyncio.Task[_Running] | None = None
        self._closed = False
        self.open_questions = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        starting = self._starting
        runs = starting is not None and starting.done() and not _is_over(starting)
        return starting.result().process.pid if starting is not None and runs else None

    async def start(self) -> None:
        """Have it running before it is asked. Raises SealProcessDied."""
        await self._started()

    async def first_bad(self, headers: Sequence[Header]) -> int:
        """Index of the first wrong seal among headers of this worker's epoch, or -1. Raises SealProcessDied."""
        return decode_first_bad(await self._ask(SealQuestion.FIRST_BAD, headers))

    async def signers(self, headers: Sequence[Header]) -> list[bytes]:
        """Who sealed each of these clique headers. Raises SealProcessDied."""
        return decode_signers(await self._ask(SealQuestion.SIGNERS, headers))

    async def close(self) -> None:
        """End the process, if any: it stops by itself when its input ends. Open questions fail."""
        self._closed = True
        starting, self._starting = self._starting, None
        if starting is not None:
            with contextlib.suppress(SealProcessDied):
                await (await starting).close()

    async def _ask(self, question: SealQuestion, headers: Sequence[Header]) -> bytes:
        self.open_questions += 1
        try:
            running = await self._started()
            return await running.ask(question, headers)
        finally:
            self.open_questions -= 1

    async def _started(self) -> _Running:
        """Started once for all who ask; whoever is cancelled meanwhile does not stop the start."""
        if self._closed:
            raise SealProcessDied("the seal workers are closed")
        starting = self._starting
        if starting is None or _is_over(starting):
            starting = self._starting = asyncio.create_task(_start(self._arguments), name="start-seal-worker")
        return await asyncio.shield(starting)


def _is_over(starting: asyncio.Task[_Running]) -> bool:
    """Whether it could not be started, or has ended since."""
    return starting.done() and (starting.exception() is not None or starting.result().has_ended)


async def _start(arguments: Sequence[str]) -> _Running:
    """Its own session keeps the terminal's Ctrl-C away from it, from its first instruction on."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", WORKER_MODULE, *arguments, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
    except OSError as error:
        raise SealProcessDied(f"a seal worker cannot be started: {error}") from error
    return _Running(process)


class _Running:
    """A process that was started, the questions it owes answers to, and the task that reads them."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.has_ended = False
        self._owed: dict[int, asyncio.Future[bytes]] = {}
        self._last_id = 0
        self._why_ended = ""
        self._reading = asyncio.create_task(self._read_replies(), name="read-seal-replies")

    async def ask(self, question: SealQuestion, headers: Sequence[Header]) -> bytes:
        assert self.process.stdin is not None
        if self._reading.done():
            raise SealProcessDied(self._why_ended)
        self._last_id = request_id = (self._last_id + 1) % 2**32
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._owed[request_id] = answer
        try:
            # The reader tells why a process ended. RuntimeError is uvloop's word for a pipe that is closed.
            with contextlib.suppress(ConnectionError, RuntimeError):
                self.process.stdin.write(encode_request(request_id, question, headers))
                await self.process.stdin.drain()
            return await answer
        finally:
            self._owed.pop(request_id, None)

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self._reading

    async def _read_replies(self) -> None:
        """Until the process ends; what is then still owed fails. Late answers to cancelled questions are skipped."""
        assert self.process.stdout is not None
        try:
            while True:
                head = decode_reply_head(await self.process.stdout.readexactly(REPLY_HEAD_BYTES))
                answer = await self.process.stdout.readexactly(head.answer_bytes)
                owed = self._owed.get(head.request_id)
                if owed is not None and not owed.done():
                    owed.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.has_ended = True
        status = await self.process.wait()
        unfit = "this ethash library cannot check seals of ECIP-1099 epochs"
        self._why_ended = unfit if status == EXIT_UNFIT else f"a seal worker ended with status {status}"
        for owed in self._owed.values():
            if not owed.done():
                owed.set_exception(SealProcessDied(self._why_ended))
