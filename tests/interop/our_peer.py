"""Our `Connection` and `EthSession` cores over a blocking socket."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from typing import Final, TypeVar

from coincurve import PrivateKey

from services.peer_gateway.core import events
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.eth_session import EthSession
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.faults import DisconnectReason, PeerFault
from services.shared.ethwire.messages import EthMessage, Status
from services.shared.ethwire.types import PeerId
from tests.support.wire import offence_with

CLIENT_NAME: Final = "trisync/interop"

RECEIVE_TIMEOUT_S: Final = 20.0
"""As long as the other side may take on a busy machine."""

Seen = events.HandshakeDone | events.Ready | events.Disconnected | EthMessage
Kind = TypeVar("Kind", bound=Seen)


def local_node() -> LocalNode:
    return LocalNode(key=PrivateKey(bytes(31) + b"\x07"), client_name=CLIENT_NAME, listen_port=0)


class OurPeer:
    """Our side of one connection. It sends `status` as soon as the link is ready."""

    def __init__(self, local: LocalNode, link: socket.socket, remote_id: PeerId | None, status: Status) -> None:
        self.connection = Connection(local, remote_id, os.urandom, now=time.monotonic())
        self.fault: PeerFault | None = None
        """What its eth messages broke; the peer may have left for its own reason before we said so."""
        self._link, self._status = link, status
        self._session: EthSession | None = None
        self._waiting: deque[Seen] = deque()
        self._seen: list[str] = []
        self._flush()

    def expect(self, kind: type[Kind]) -> Kind:
        """The next event or eth message of this kind; others before it are passed over."""
        while True:
            while not self._waiting:
                assert not self.connection.is_closed, f"no {kind.__name__} came; these did: {self._seen}"
                self._receive()
            found = self._waiting.popleft()
            self._seen.append(str(found)[:200])
            if isinstance(found, kind):
                return found

    def send(self, message: EthMessage) -> None:
        assert self._session is not None
        self.connection.send_message(*encode_message(self._session.version, message))
        self._flush()

    def disconnect(self, reason: DisconnectReason) -> None:
        self._waiting += self._carry_out(self.connection.disconnect(offence_with(reason)))
        self._flush()

    def _receive(self) -> None:
        self._link.settimeout(RECEIVE_TIMEOUT_S)
        try:
            received = self._link.recv(1 << 16)
        except ConnectionResetError:
            received = b""
        came = self.connection.receive_data(received, time.monotonic()) if received else self.connection.receive_eof()
        self._waiting += self._carry_out(came)
        self._flush()

    def _carry_out(self, came: list[events.Event]) -> list[Seen]:
        seen: list[Seen] = []
        for event in came:
            match event:
                case events.Ready(_, eth_version):
                    self._session = EthSession(eth_version, self._status, time.monotonic())
                    self.connection.send_message(*self._session.opening)
                    seen.append(event)
                case events.EthMessage(code, payload):
                    seen += self._decode(code, payload)
                case _:
                    seen.append(event)
        return seen

    def _decode(self, code: int, payload: bytes) -> list[Seen]:
        assert self._session is not None
        try:
            return [self._session.receive(code, payload)]
        except PeerFault as fault:
            self.fault = fault
            return self._carry_out(self.connection.fail(fault))

    def _flush(self) -> None:
        """Write what is queued. After the last event only our half is shut, so that a Disconnect is not lost."""
        self._link.sendall(self.connection.data_to_send())
        if self.connection.is_closed:
            self._link.shutdown(socket.SHUT_WR)
