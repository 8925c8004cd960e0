"""The npm peer as a process: events read from its stdout, commands written to its stdin."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Final, Self

EVENT_TIMEOUT_S: Final = 20.0
"""A Node process takes about a second to start; the rest is for a busy machine."""

END_TIMEOUT_S: Final = 10.0

Event = dict[str, Any]


class JsPeer:
    """One running `peer.mjs` or `dpt.mjs`, a context manager that ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands, self._events = self._process.stdin, self._process.stdout
        self._partial = b""
        self._waiting: list[Event] = []
        self._seen: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def expect(self, event: str, **fields: object) -> Event:
        """The next event of this kind with these fields; others before it are passed over."""
        deadline = time.monotonic() + EVENT_TIMEOUT_S
        while True:
            found = self._next_event(deadline)
            assert found is not None, f"no {event} {fields} came; these did: {self._seen}"
            self._seen.append(found)
            if found["event"] == event and fields.items() <= found.items():
                return found

    def send(self, message: str, payload: list[Any]) -> None:
        """Have the peer send an eth message; byte strings in `payload` are hex."""
        self._write({"send": message, "payload": payload})

    def disconnect(self, reason: int) -> None:
        """Have the peer leave with a devp2p Disconnect."""
        self._write({"disconnect": reason})

    def end(self) -> int:
        """Close its stdin, which ends it, and wait. The exit code."""
        self._commands.close()
        try:
            return self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._events.close()

    def _write(self, command: Event) -> None:
        self._commands.write(json.dumps(command).encode() + b"\n")

    def _next_event(self, deadline: float) -> Event | None:
        while not self._waiting:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._events], [], [], left_s)[0]:
                return None
            received = os.read(self._events.fileno(), 1 << 20)
            if not received:
                return None
            *lines, self._partial = (self._partial + received).split(b"\n")
            self._waiting += [json.loads(line) for line in lines]
        return self._waiting.pop(0)
