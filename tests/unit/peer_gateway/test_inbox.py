"""A peer's messages that wait to be worked on. Time is a number; the coroutine is stepped by hand."""

from __future__ import annotations

import pytest

from services.peer_gateway.core.events import EthMessage
from services.peer_gateway.edges.inbox import INBOX_BYTES, MESSAGE_COST, SLICE_BYTES, Inbox
from tests.support.coroutines import finish


class Reading:
    """Whether the socket is read, and an inbox that decides it."""

    def __init__(self) -> None:
        self.now, self.is_on = 0.0, True
        self.inbox = Inbox(self._pause, self._resume, lambda: self.now)

    def _pause(self) -> None:
        self.is_on = False

    def _resume(self) -> None:
        self.is_on = True


@pytest.mark.parametrize("size_bytes", [0, 1000, INBOX_BYTES])
def test_the_socket_is_not_read_while_more_waits_than_the_limit(size_bytes):
    reading, put = Reading(), 0
    while reading.is_on:
        reading.inbox.put(EthMessage(0, bytes(size_bytes)))
        put += 1
    assert (put - 1) * (size_bytes + MESSAGE_COST) <= INBOX_BYTES
    reading.now = 7.0
    assert reading.inbox.paused_s() == 7.0
    while not reading.is_on:
        reading.inbox._slice = 0
        finish(reading.inbox.get())
    assert reading.inbox.paused_s() == 0.0


def test_a_flood_is_handed_out_in_slices_with_room_for_others_in_between():
    inbox = Reading().inbox
    for _ in range(1000):
        inbox.put(EthMessage(0, b""))
    for _ in range(SLICE_BYTES // MESSAGE_COST):
        finish(inbox.get())
    with pytest.raises(AssertionError, match="waits"):
        finish(inbox.get())
