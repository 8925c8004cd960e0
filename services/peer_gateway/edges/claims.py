"""Of several connections with one node, which may ask for a place: one at a time.

Two nodes that dial each other at one moment have two connections. If each kept the one it saw first and turned the
other away, both might end, each for the sake of the other, and neither node would dial again for half a minute. So a
second connection waits for what becomes of the first. Nodes that both wait would wait for each other: then the
connection goes on that was dialled by the node of the greater id, as both can tell. A node that never waits, such as
geth, has ended one of the two by then.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

WAITING_FOR_EACH_OTHER_S: Final = 1.0
"""When a first connection that has not joined is taken to wait for the other side: handshakes take some round trips."""

PATIENCE_S: Final = 4.0
"""How much longer a second connection waits; with the above, no longer than a handshake may take."""


class Claimant(Protocol):
    """A connection that has shown who it is with."""

    @property
    def was_dialled_by_greater_id(self) -> bool: ...

    def disconnect(self, offence: Offence, detail: str) -> None: ...


class _Claim:
    """Held by one connection until it ends."""

    def __init__(self, holder: Claimant) -> None:
        self.holder = holder
        self.is_joined = self.has_waiter = False
        self.settled = asyncio.Event()
        """Set once the holder has joined, or is over."""


class Claims:
    """At most one connection per node id holds a claim, and one more waits for it."""

    def __init__(self) -> None:
        self._claims: dict[PeerId, _Claim] = {}

    async def take(self, node_id: PeerId, connection: Claimant) -> bool:
        """Hold the claim of this node; False when another connection keeps it. Give it back by `release`."""
        first = self._claims.get(node_id)
        if first is not None:
            # Of two that the same side dialled none waits for the other side's view of the other.
            is_same_way = first.holder.was_dialled_by_greater_id is connection.was_dialled_by_greater_id
            if first.is_joined or first.has_waiter or is_same_way:
                return False
            first.has_waiter = True
            try:
                await self._await_end(first, connection)
            finally:
                first.has_waiter = False
            if node_id in self._claims:
                return False
        self._claims[node_id] = _Claim(connection)
        return True

    def joined(self, node_id: PeerId) -> None:
        """The connection that holds the claim is a peer now."""
        claim = self._claims[node_id]
        claim.is_joined = True
        claim.settled.set()

    def release(self, node_id: PeerId) -> None:
        """The connection that held the claim is over."""
        self._claims.pop(node_id).settled.set()

    @staticmethod
    async def _await_end(first: _Claim, second: Claimant) -> None:
        try:
            async with asyncio.timeout(WAITING_FOR_EACH_OTHER_S):
                await first.settled.wait()
        except TimeoutError:
            if second.was_dialled_by_greater_id:
                first.holder.disconnect(Offence.ALREADY_CONNECTED, "each of us has dialled the other")
        else:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await first.settled.wait()
        except TimeoutError:
            return
