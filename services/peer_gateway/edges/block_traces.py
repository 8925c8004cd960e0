"""The gateway's part in the traces of blocks: who told us of one, and when it was on its way to the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from services.peer_gateway.core.known_blocks import KnownBlocks
from services.shared.ethwire.types import BlockHash, PeerId
from services.shared.runtime.tracing import Span, SpanId, Step, Tracer, span_id_from_proto, step_id

MOST_ANNOUNCES: Final = 4
"""Of one message of a peer, so many announces are traced at most: one or two are usual, thousands are an attack."""

WRITTEN_WITHIN_S: Final = 30.0
"""When a send is traced although some peers were not written to: they are gone, or do not read."""


class BlockTraces:
    """One per gateway. With tracing off, each call is one look at a flag."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def hearing(self, node_id: PeerId, known: KnownBlocks, block_hashes: Sequence[BlockHash]) -> Hearing | None:
        """To be called before the peer is marked as knowing the blocks: only its first word of a block counts."""
        if not self._tracer.is_on:
            return None
        news = [block_hash for block_hash in block_hashes[:MOST_ANNOUNCES] if block_hash not in known]
        return Hearing(self._tracer, node_id, news) if news else None

    def sending(self, block_hashes: Sequence[BlockHash], decision: bytes) -> Sending | None:
        """Blocks that the broadcaster decided to send, or to announce; `decision` is the span of that."""
        if not self._tracer.is_on:
            return None
        return Sending(self._tracer, list(block_hashes), span_id_from_proto(decision))


class Hearing:
    """Blocks that one message of a peer was the peer's first word of."""

    def __init__(self, tracer: Tracer, node_id: PeerId, block_hashes: Sequence[BlockHash]) -> None:
        self._tracer, self._node_id, self._block_hashes = tracer, node_id, block_hashes
        self._started_ns = time.time_ns()

    def handed_on(self, *, whole: bool) -> None:
        """The coordinator's queue has the message, or had no room for it."""
        for block_hash in self._block_hashes:
            self._tracer.record(
                Span(
                    step=Step.HEARD,
                    block_hash=block_hash,
                    started_ns=self._started_ns,
                    ended_ns=time.time_ns(),
                    parent=None,
                    span_id=step_id(Step.HEARD, block_hash, self._node_id),
                    attributes={"peer.id": self._node_id.hex(), "block.whole": whole},
                )
            )


class Sending:
    """One message to several peers: over when its first byte has left for the last of them."""

    def __init__(self, tracer: Tracer, block_hashes: Sequence[BlockHash], decision: SpanId | None) -> None:
        self._tracer, self._block_hashes, self._decision = tracer, block_hashes, decision
        self._started_ns = self._written_ns = time.time_ns()
        self._written = self._peers = 0
        self._message = ""
        self._timer: asyncio.TimerHandle | None = None

    def on_written(self) -> None:
        self._written, self._written_ns = self._written + 1, time.time_ns()
        if self._timer is not None and self._written == self._peers:
            self._timer.cancel()
            self._record()

    def queued(self, peers: int, message: str) -> None:
        """It waits for so many peers, or was written to them already."""
        self._peers, self._message = peers, message
        if not peers:
            return
        if self._written == peers:
            self._record()
        else:
            self._timer = asyncio.get_running_loop().call_later(WRITTEN_WITHIN_S, self._record)

    def _record(self) -> None:
        self._timer = None
        for block_hash in self._block_hashes:
            self._tracer.record(
                Span(
                    step=Step.SENT,
                    block_hash=block_hash,
                    started_ns=self._started_ns,
                    ended_ns=self._written_ns,
                    parent=self._decision,
                    attributes={
                        "message": self._message,
                        "peers.chosen": self._peers,
                        "peers.written": self._written,
                    },
                )
            )
