"""One direction of a simulated connection: the gateway's real queue, and a peer that reads so many bytes a second."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from services.peer_gateway.core.send_queue import Outgoing, SendQueue, Urgency
from services.shared.ethwire.eth_messages import decode_message
from services.shared.ethwire.messages import EthMessage
from tests.support.sim_net import SimNet

ETH_VERSION: Final = 62

LINE_BYTES_PER_S: Final = 1_000_000.0

WRITE_TIMEOUT_S: Final = 20.0


class Line:
    """The write buffer holds one message: the next leaves the queue when the peer has read that one."""

    def __init__(self, net: SimNet, deliver: Callable[[Outgoing], None]) -> None:
        self.queue = SendQueue(WRITE_TIMEOUT_S)
        self.bytes_per_s = LINE_BYTES_PER_S
        self._net, self._deliver = net, deliver
        self._read_at = 0.0
        self._is_waiting = False

    def send(self, urgency: Urgency, message: Outgoing) -> bool:
        """False when the queue refuses it."""
        if self.queue.is_blocked and self._net.now >= self._read_at:
            self.queue.on_drained()
        is_taken = self.queue.put(urgency, message)
        self._write()
        return is_taken

    def _write(self) -> None:
        message = self.queue.take()
        if message is not None:
            self._net.send(functools.partial(self._deliver, message))
            self.queue.on_blocked(self._net.now)
            self._read_at = self._net.now + len(message.payload) / self.bytes_per_s
        if len(self.queue) and not self._is_waiting:
            self._is_waiting = True
            self._net.at(self._read_at, self._on_read)

    def _on_read(self) -> None:
        self._is_waiting = False
        self.queue.on_wakeup(self._net.now)
        self.queue.on_drained()
        self._write()


@functools.lru_cache(maxsize=64)
def decoded(code: int, payload: bytes) -> EthMessage:
    """What a message says: read once, however many nodes are sent it."""
    return decode_message(ETH_VERSION, code, payload)
