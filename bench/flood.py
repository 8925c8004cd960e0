"""Connections that mean no good: half open, garbage, and the beginnings of handshakes."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from services.peer_gateway.core.ecies import generate_key
from services.peer_gateway.core.rlpx_handshake import Initiator
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

GARBAGE_BYTES: Final = 400

HELD_S: Final = 6.0
"""How long a connection that nobody closes is kept: longer than a handshake may take."""

TICK_S: Final = 0.01


class _Bad(asyncio.Protocol):
    def __init__(self, opening: bytes) -> None:
        self._opening = opening

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = cast("asyncio.Transport", transport)
        if self._opening:
            opened.write(self._opening)
        asyncio.get_running_loop().call_later(HELD_S, opened.abort)


class Flood:
    """Opens connections at a steady rate, whatever becomes of them."""

    def __init__(self, target: Enode, kinds: Sequence[str], rng: random.Random) -> None:
        self._target, self._kinds, self._rng = target, kinds, rng
        self._auth = Initiator(generate_key(os.urandom), PeerId(target.node_id), os.urandom).auth_packet
        self._opened = self._failed = 0

    async def run(self, rate: int, seconds: float) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        started, opening = loop.time(), set[asyncio.Task[None]]()
        due = 0
        while (elapsed := loop.time() - started) < seconds:
            while due < rate * elapsed:
                due += 1
                task = asyncio.create_task(self._open())
                opening.add(task)
                task.add_done_callback(opening.discard)
            await asyncio.sleep(TICK_S)
        ended = loop.time() - started
        await asyncio.gather(*opening)
        return {"opened": self._opened, "failed": self._failed, "seconds": ended}

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Bad(self._opening()), self._target.host, self._target.tcp_port)
        except OSError:
            self._failed += 1
        else:
            self._opened += 1

    def _opening(self) -> bytes:
        garbage = self._rng.randbytes(GARBAGE_BYTES)
        match self._rng.choice(self._kinds):
            case "half-open":
                # Nothing ever comes.
                return b""
            case "garbage":
                return garbage
            case "looks-right":
                # As an auth begins: a size, and the mark of a public key.
                return (GARBAGE_BYTES - 2).to_bytes(2) + b"\x04" + garbage[3:]
            case kind:
                assert kind == "cut-off", f"there is no flood of {kind}"
                # The first half of a real auth, then silence.
                return self._auth[: len(self._auth) // 2]
