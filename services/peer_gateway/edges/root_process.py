"""One root worker process as the gateway sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from typing import Final, NoReturn, cast

from services.peer_gateway.core.root_frames import (
    PREFIX_BYTES,
    RootedReply,
    decode_answer,
    decode_prefix,
    encode_request,
)
from services.shared.ethwire.faults import MalformedRlp
from services.shared.runtime.logs import get_log

WORKER_MODULE: Final = "services.peer_gateway.edges.root_worker"

SOCKET_BUFFER_BYTES: Final = 1024 * 1024
"""What a socket may hold between the two, if the kernel allows it: a usual reply crosses in few steps."""

RESTART_S: Final = 1.0
"""Pause before a worker that died is started again; meanwhile the gateway does without."""

CLOSE_S: Final = 1.0
"""How long a worker may take to finish its reply at shutdown before it is killed."""


class RootProcessDied(Exception):
    """The worker ended, or was ended, before it answered."""


class _Channel(asyncio.Protocol):
    """The socket to a worker: requests out, answers back in the same order."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: deque[tuple[asyncio.Future[bytes], int]] = deque()
        self.is_up = False
        self.bytes_in_flight = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, received: bytes) -> None:
        self._received += received
        while len(self._received) >= PREFIX_BYTES:
            payload_bytes, code = decode_prefix(bytes(self._received[:PREFIX_BYTES]))
            end = PREFIX_BYTES + payload_bytes
            if len(self._received) < end:
                return
            self._take_answer(code, bytes(self._received[PREFIX_BYTES:end]))
            del self._received[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_up = False
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(RootProcessDied("a root worker died"))

    def ask(self, reply: RootedReply) -> asyncio.Future[bytes]:
        assert self._transport is not None
        request = encode_request(reply)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, len(request)))
        self.bytes_in_flight += len(request)
        self._transport.write(request)
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _take_answer(self, code: int, payload: bytes) -> None:
        if not self.is_up:
            self.is_up = True
            return
        answer, request_bytes = self._waiting.popleft()
        self.bytes_in_flight -= request_bytes
        if answer.done():
            # Nobody waits any more: its peer left meanwhile.
            return
        try:
            answer.set_result(decode_answer(code, payload))
        except MalformedRlp as fault:
            answer.set_exception(fault)


class RootProcess:
    """A worker that `run` starts once it is first wanted, and again when it died."""

    def __init__(self) -> None:
        self._wanted = asyncio.Event()
        self._process: Process | None = None
        self._channel: _Channel | None = None
        self._log = get_log("root-worker")

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def bytes_in_flight(self) -> int | None:
        """Bytes asked and not yet answered; None while the worker is not up."""
        return self._channel.bytes_in_flight if self._channel is not None and self._channel.is_up else None

    def want(self) -> None:
        """There is work for it: from now on it is kept running."""
        self._wanted.set()

    def ask(self, reply: RootedReply) -> asyncio.Future[bytes]:
        """The digests to come; they may end in MalformedRlp or RootProcessDied. Caller's duty: it is up."""
        assert self._channel is not None
        return self._channel.ask(reply)

    def kill(self) -> None:
        """End a worker that does not answer."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def run(self) -> NoReturn:
        """Keep the worker until cancelled, then end it."""
        await self._wanted.wait()
        while True:
            try:
                status = await self._run_once()
                self._log.warning("root worker died", status=status)
            except OSError as problem:
                self._log.warning("root worker cannot be started", why=str(problem))
            await asyncio.sleep(RESTART_S)

    async def _run_once(self) -> int:
        """From a worker's start to its end; the exit status."""
        ours, its = socket.socketpair()
        with ours, its:
            ours.setblocking(False)
            for end in (ours, its):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            # A session of its own keeps the terminal's Ctrl-C away from it, from its first instruction on.
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", WORKER_MODULE), stdin=its.fileno(), stdout=DEVNULL, start_new_session=True
            )
            its.close()
            channel = _Channel()
            try:
                await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
                self._channel = channel
                return await process.wait()
            finally:
                self._channel = self._process = None
                channel.close()
                await _end(process)


async def _end(process: Process) -> None:
    """Its socket is closed; wait for the process, for a moment."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
