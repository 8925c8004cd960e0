"""One peer's questions to us: answered one at a time, in order, always with a reply."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from services.peer_gateway.core.request_book import ANSWER_OF, Request
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.core.snappy_codec import Payload
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.replies import REPLY_CODES
from services.peer_gateway.edges.tcp import PeerSocket

QUESTIONS_WAITING: Final = 32
"""Questions of one peer that may wait. A peer that asks more is not read until some are answered."""


class _Waiting(NamedTuple):
    """A question, when we run out of patience with the coordinator for it, and what was `_slow_s` before it."""

    question: Request
    deadline: float
    slow_s_before: float


class Questions:
    """The queue of one peer's questions and the task that answers them.

    The patience with an absent coordinator counts from a question's arrival, so all that wait run out
    of it together, and the socket is not left unread for longer. Time that the peer takes to read the
    reply before does not count.
    """

    def __init__(self, chain: ChainReader, socket: PeerSocket, patience_s: float) -> None:
        self._chain, self._socket, self._patience_s = chain, socket, patience_s
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(QUESTIONS_WAITING)
        self._slow_s = 0.0
        """How long the peer kept its questions waiting by not reading, all in all."""

    @property
    def is_full(self) -> bool:
        """Whether the peer asks faster than it can be answered."""
        return self._waiting.full()

    async def put(self, question: Request) -> None:
        """Queue a question; waits while the queue is full."""
        await self._waiting.put(_Waiting(question, self._loop.time() + self._patience_s, self._slow_s))

    async def run(self) -> None:
        """Answer until cancelled. A reply is only made once the one before it is being written."""
        while True:
            waiting = await self._waiting.get()
            began = self._loop.time()
            await self._socket.room_for_reply()
            self._slow_s += self._loop.time() - began
            deadline = waiting.deadline + self._slow_s - waiting.slow_s_before
            payload = await self._chain.answer(waiting.question, deadline)
            code = REPLY_CODES[ANSWER_OF[type(waiting.question)]]
            self._socket.send(Urgency.REPLY, Outgoing(code, Payload(payload)))
