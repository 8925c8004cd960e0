"""A peer under a test's control: the real `Connection` core over TCP, and every way to misbehave.

    peer = await ScriptedPeer.dial(parse_enode(url), local_node("mallory"))
    await peer.join(status)                      # Hello and Status, both ways
    peer.send(GetBlockHeaders(0, 3, 0, False))
    reply = await peer.receive(BlockHeaders)

`ScriptedListener` is the same for being dialled. Nothing here sleeps: every wait has a deadline.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, TypeVar, cast

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.devp2p import SUBPROTOCOL_OFFSET
from services.peer_gateway.core.events import Disconnected, Event, HandshakeDone, Ready
from services.peer_gateway.core.events import EthMessage as Arrived
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.eth_messages import decode_message, encode_message
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import EthMessage, Status
from services.shared.ethwire.types import PeerId
from tests.support.wire import offence_with

DEADLINE_S: Final = 15.0
"""As long as anything may take on a busy machine."""

M = TypeVar("M", bound=EthMessage)

Answer = Callable[[EthMessage], EthMessage | None]
"""What to reply to a message, or None to leave it to the test."""


class ScriptedPeer(asyncio.Protocol):
    """One connection. Messages wait until `receive` takes them, unless `answer` replies to them."""

    def __init__(self, local: LocalNode, remote_id: PeerId | None) -> None:
        self.local = local
        self.answer: Answer | None = None
        self.connection = Connection(local, remote_id, os.urandom, now=0.0)
        self._transport: asyncio.Transport | None = None
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._end: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()
        self._waiting: deque[EthMessage] = deque()
        self._arrived = asyncio.Event()
        self.eth_version = 0
        self.seen: list[str] = []
        """Names of all messages that came, for the text of a failure."""

    @classmethod
    async def dial(cls, node: Enode, local: LocalNode) -> ScriptedPeer:
        """Open the socket; the handshakes follow by themselves up to Hello."""
        loop = asyncio.get_running_loop()
        _, peer = await loop.create_connection(lambda: cls(local, node.node_id), node.host, node.tcp_port)
        return peer

    async def ready(self) -> Ready:
        """Wait for the other side's Hello. Fails where the connection ends before it."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._ready.done() and not self._end.done():
                self._arrived.clear()
                await self._arrived.wait()
        assert self._ready.done(), f"no Hello came: {self._end.result()}"
        return self._ready.result()

    async def join(self, status: Status) -> Status:
        """Exchange Hello and Status; the version is filled in. Gives the other side's Status."""
        await self.ready()
        self.send(status._replace(protocol_version=self.eth_version))
        return await self.receive(Status)

    def send(self, message: EthMessage) -> None:
        self.send_payload(*encode_message(self.eth_version, message))

    def send_payload(self, code: int, payload: bytes) -> None:
        """Any bytes as the eth message `code`, framed and compressed as they should be."""
        self.connection.send_message(code, payload)
        self._flush()

    def send_frame(self, code: int, content: bytes, *, base: bool = False) -> None:
        """A frame whose content is sent as it is, where a snappy block is due. `base`: `code` is not eth's."""
        pipe = self.connection._pipe  # misbehaving needs what the core does not offer
        assert pipe is not None
        self.send_bytes(pipe._writer.encode(code if base else SUBPROTOCOL_OFFSET + code, content))

    def send_bytes(self, sent: bytes) -> None:
        """Bytes on the socket, outside of any frame."""
        assert self._transport is not None
        self._transport.write(sent)

    async def receive(self, kind: type[M]) -> M:
        """The next message of this kind; others before it are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await self.receive_any(kind.__name__)
                if isinstance(message, kind):
                    return message

    async def receive_any(self, wanted: str = "message") -> EthMessage:
        """The next message, whatever it is."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._waiting:
                assert not self._end.done(), f"no {wanted} came: {self._end.result()}; seen: {self.seen}"
                self._arrived.clear()
                await self._arrived.wait()
            return self._waiting.popleft()

    @property
    def unread(self) -> Sequence[EthMessage]:
        """What came and was neither received nor answered."""
        return tuple(self._waiting)

    @property
    def is_connected(self) -> bool:
        return not self._end.done()

    async def disconnected(self) -> Disconnected:
        """Wait until the connection is over."""
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.shield(self._end)

    async def refusal(self) -> DisconnectReason | None:
        """The reason the other side gave for ending it."""
        end = await self.disconnected()
        assert not end.by_us, end
        return end.reason

    def disconnect(self, reason: DisconnectReason) -> None:
        self._carry(self.connection.disconnect(offence_with(reason)))

    def hang_up(self) -> None:
        """Cut the socket without a word."""
        assert self._transport is not None
        self._transport.abort()

    def stop_reading(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, received: bytes) -> None:
        self._carry(self.connection.receive_data(received, now=0.0))
        while self.connection.has_unread:
            self._carry(self.connection.receive_data(b"", now=0.0))

    def connection_lost(self, exc: Exception | None) -> None:
        self._carry(self.connection.receive_eof())

    def _carry(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Ready(_, eth_version):
                    self.eth_version = eth_version
                    self._ready.set_result(event)
                case Arrived(code, payload):
                    self._on_message(decode_message(self.eth_version, code, payload))
                case Disconnected():
                    self._end.set_result(event)
                case HandshakeDone():
                    pass
        self._flush()
        self._arrived.set()
        if self._end.done() and self._transport is not None:
            self._transport.close()

    def _on_message(self, message: EthMessage) -> None:
        self.seen.append(type(message).__name__)
        reply = self.answer(message) if self.answer is not None else None
        if reply is None:
            self._waiting.append(message)
        else:
            self.send(reply)

    def _flush(self) -> None:
        queued = self.connection.data_to_send()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(queued)


class ScriptedListener:
    """A port on loopback where a node may be dialled; each connection becomes a `ScriptedPeer`.

    `answer`, if given, is each peer's from its first message on.
    """

    def __init__(self, local: LocalNode, answer: Answer | None = None) -> None:
        self.local, self._answer = local, answer
        self.peers: list[ScriptedPeer] = []
        self._opened: asyncio.Queue[ScriptedPeer] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    @property
    def enode(self) -> Enode:
        assert self._server is not None
        port = int(self._server.sockets[0].getsockname()[1])
        return Enode(self.local.node_id, "127.0.0.1", port, port)

    async def next_peer(self) -> ScriptedPeer:
        """The next connection, from its TCP handshake on."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._opened.get()

    async def __aenter__(self) -> ScriptedListener:
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self.peers:
            if peer.is_connected:
                peer.hang_up()

    def _accept(self) -> ScriptedPeer:
        peer = ScriptedPeer(self.local, None)
        peer.answer = self._answer
        self.peers.append(peer)
        self._opened.put_nowait(peer)
        return peer
