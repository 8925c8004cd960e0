"""One peer's questions to us: answered one at a time, in order, always with a reply (SPEC section 2)."""

from __future__ import annotations

import asyncio
from typing import Final

from services.peer_gateway.core.request_book import ANSWER_OF, Request
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.replies import REPLY_CODES
from services.peer_gateway.edges.tcp import PeerSocket

QUESTIONS_WAITING: Final = 32
"""Questions of one peer that may wait. A peer that asks more is not read until some are answered."""


class Questions:
    """The queue of one peer's questions and the task that answers them.

    The patience with an absent coordinator counts from a question's arrival, so all that wait run out
    of it together, and the socket is not left unread for longer.
    """

    def __init__(self, chain: ChainReader, socket: PeerSocket, patience_s: float) -> None:
        self._chain, self._socket, self._patience_s = chain, socket, patience_s
        self._waiting: asyncio.Queue[tuple[Request, float]] = asyncio.Queue(QUESTIONS_WAITING)

    @property
    def is_full(self) -> bool:
        """Whether the peer asks faster than it can be answered."""
        return self._waiting.full()

    async def put(self, question: Request) -> None:
        """Queue a question; waits while the queue is full."""
        await self._waiting.put((question, asyncio.get_running_loop().time() + self._patience_s))

    async def run(self) -> None:
        """Answer until cancelled. A peer that does not read is not answered until it does."""
        while True:
            question, deadline = await self._waiting.get()
            payload = await self._chain.answer(question, deadline)
            await self._socket.drained.wait()
            self._socket.send(REPLY_CODES[ANSWER_OF[type(question)]], payload)
