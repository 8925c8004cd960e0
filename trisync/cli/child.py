"""One service as a child process, in a session of its own so that Ctrl-C reaches only `up`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import Final

from trisync.cli.plan import ServicePlan

START_TIMEOUT_S: Final = 60.0
"""How long a service may take until it is ready; seconds on an idle machine."""

READY_CHECK_S: Final = 0.05

MAX_LOG_BYTES: Final = 16 * 1024 * 1024
"""A log that is longer when its service starts is put aside as `.old`."""

REASON_TAIL_BYTES: Final = 4096
"""Where the reason of a failed start is looked for: the end of the log."""


CHILD_ENVIRONMENT: Final = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
"""Workers are started by exec, so gRPC need not prepare for forks, and need not log that it cannot."""


class ChildFailed(Exception):
    """A service did not start; the text is its own reason."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Child:
    """Start it, wait until it is ready, wait until it ends; start it again if need be."""

    def __init__(self, plan: ServicePlan, lock_descriptor: int) -> None:
        self.plan = plan
        self.facts: Mapping[str, object] = {}
        self._lock_descriptor = lock_descriptor
        self._process: Process | None = None
        self._log_start = 0

    async def start(self) -> None:
        """The write end of the child's standard input is ours alone: it closes when we end, however we end."""
        self.plan.run_dir.mkdir(parents=True, exist_ok=True)
        self.plan.ready_path.unlink(missing_ok=True)
        log_path = self.plan.log_path
        if log_path.exists() and log_path.stat().st_size > MAX_LOG_BYTES:
            log_path.replace(log_path.with_suffix(".log.old"))
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.plan.module, *self.plan.arguments),
                stdin=PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self._lock_descriptor,),
                env={**CHILD_ENVIRONMENT, **os.environ, **self.plan.environment},
            )

    async def wait_ready(self) -> None:
        """Return once the service wrote its ready file. Raises ChildFailed when it ends or takes too long."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while not self._read_facts():
            if self._process is not None and self._process.returncode is not None:
                raise ChildFailed(self._reason(), self._process.returncode)
            if asyncio.get_running_loop().time() > deadline:
                raise ChildFailed(
                    f"{self.plan.name} is not ready after {START_TIMEOUT_S:.0f} s; see {self.plan.log_path}", 1
                )
            await asyncio.sleep(READY_CHECK_S)

    async def wait_end(self) -> int:
        """The exit code; below 0 it is the number of the signal that killed it."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def kill_group(self) -> None:
        """End the service and what it started. Its session has its process id as its number."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read_facts(self) -> bool:
        try:
            facts = json.loads(self.plan.ready_path.read_text())
        except (FileNotFoundError, ValueError):
            return False
        if facts.get("pid") != self.pid:
            return False
        self.facts = facts
        return True

    def last_line(self) -> str:
        """What the service wrote last since it was started; empty if nothing."""
        with self.plan.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - REASON_TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _reason(self) -> str:
        assert self._process is not None
        return self.last_line() or f"{self.plan.name} ended with code {self._process.returncode} and said nothing"
