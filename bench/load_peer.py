"""One peer of a load generator: our own `Connection` core over TCP, with replies that are compressed once."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.devp2p import EMPTY_LIST, SUBPROTOCOL_OFFSET, BaseCode
from services.peer_gateway.core.ecies import generate_key
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.framing import Frame
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import MessageCode, Status
from services.shared.ethwire.types import PeerId

LISTEN_PORT: Final = 30303

Replies = Mapping[int, tuple[int, bytes]]
"""By the code of a question: the code of its reply, and the reply's payload as a snappy block."""


@dataclass(slots=True)
class Waits:
    """How long something took, each time."""

    seconds: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(self.seconds, default=0.0)


class PongCountingConnection(Connection):
    """Tells of each Pong, which the core keeps to itself."""

    on_pong: Callable[[], None] | None = None

    def _on_message(self, message: Frame, now: float) -> list[Event]:
        if message.code == BaseCode.PONG and self.on_pong is not None:
            self.on_pong()
        return super()._on_message(message, now)


class LoadPeer(asyncio.Protocol):
    """Joins, answers what it is asked, and asks what it is told to, one question at a time."""

    def __init__(self, name: str, target: Enode, status: Status, replies: Replies) -> None:
        self.local = LocalNode(key=generate_key(os.urandom), client_name=name, listen_port=LISTEN_PORT)
        self._target, self._status, self._replies = target, status, replies
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._transport: asyncio.Transport
        self.joined: asyncio.Future[None] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._reply: asyncio.Future[EthMessage] | None = None
        self._pings: deque[float] = deque()
        self.answered = 0
        self.pong_waits = Waits()

    async def connect(self) -> None:
        """Open the socket; the handshakes follow by themselves."""
        await self._loop.create_connection(lambda: self, self._target.host, self._target.tcp_port)

    @property
    def is_connected(self) -> bool:
        return not self.ended.done()

    async def ask(self, code: int, payload: bytes) -> bytes:
        """One question, and the payload of the reply. Raises ConnectionError where the connection ends first."""
        self._reply = self._loop.create_future()
        self._connection.send_message(code, payload)
        self._flush()
        return (await self._reply).payload

    def ping(self) -> None:
        self._pings.append(self._loop.time())
        self._connection._send(BaseCode.PING, EMPTY_LIST)
        self._flush()

    @property
    def pings_unanswered(self) -> int:
        return len(self._pings)

    def hang_up(self) -> None:
        self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        node_id = PeerId(self._target.node_id)
        self._connection = PongCountingConnection(self.local, node_id, os.urandom, self._loop.time())
        self._connection.on_pong = self._on_pong
        self._flush()

    def data_received(self, received: bytes) -> None:
        self._carry(self._connection.receive_data(received, self._loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._carry(self._connection.receive_eof())

    def _carry(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Ready(_, eth_version):
                    if not self.ready.done():
                        self.ready.set_result(None)
                    opening = encode_message(eth_version, self._status._replace(protocol_version=eth_version))
                    self._connection.send_message(*opening)
                case EthMessage():
                    self._on_message(event)
                case Disconnected():
                    self._on_end(event)
                case HandshakeDone():
                    pass
        self._flush()

    def _on_message(self, message: EthMessage) -> None:
        if message.code == MessageCode.STATUS:
            self.joined.set_result(None)
        elif (reply := self._replies.get(message.code)) is not None:
            code, compressed = reply
            pipe = self._connection._pipe  # as the core would, but for the compression
            assert pipe is not None
            self._connection._to_send.append(pipe._writer.encode(SUBPROTOCOL_OFFSET + code, compressed))
            self.answered += 1
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    def _on_end(self, end: Disconnected) -> None:
        self.ended.set_result(end.detail)
        for waiting in (self.joined, self.ready, self._reply):
            if waiting is not None and not waiting.done():
                waiting.set_exception(ConnectionError(end.detail))
                waiting.exception()
        self._transport.close()

    def _on_pong(self) -> None:
        # One Pong may answer several Pings.
        while self._pings:
            self.pong_waits.seconds.append(self._loop.time() - self._pings.popleft())

    def _flush(self) -> None:
        queued = self._connection.data_to_send()
        if queued and not self._transport.is_closing():
            self._transport.write(queued)
