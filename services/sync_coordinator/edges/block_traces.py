"""The coordinator's part in the traces of blocks: from the first word of one to the end of its import."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final

from services.shared.ethwire.types import BlockHash, Header, PeerId
from services.shared.runtime.tracing import NullTracer, Span, SpanId, Step, Tracer, step_id

MOST_BEGUN: Final = 512
"""Blocks whose beginning is remembered; the oldest are forgotten, as are those that peers announce and nobody has."""


class BlockTraces:
    """With tracing off, each call is one look at a flag."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or NullTracer()
        self._taken_from: dict[BlockHash, int] = {}
        self._asked_at: dict[BlockHash, int] = {}

    def arrived(self, block_hash: BlockHash) -> None:
        """The whole block is here without having been asked for."""
        if self._tracer.is_on:
            self._asked_at.pop(block_hash, None)
            _begin(self._taken_from, block_hash)

    def asked(self, block_hash: BlockHash) -> None:
        """A peer was asked for a block that was announced."""
        if self._tracer.is_on:
            _begin(self._taken_from, block_hash)
            _begin(self._asked_at, block_hash)

    def importing(self, header: Header) -> None:
        """All of it is here, and its turn has come."""
        if self._tracer.is_on:
            asked_at = self._asked_at.pop(header.hash, None)
            if asked_at is None:
                _begin(self._taken_from, header.hash)
            else:
                self.lasted(Step.FETCHED, header, asked_at, "ok")

    def step(self, step: Step, header: Header) -> AbstractContextManager[object]:
        """To be entered for as long as a step of the import lasts."""
        return _Lasting(self, step, header) if self._tracer.is_on else nullcontext()

    def taken(self, header: Header, peer: PeerId | None, outcome: str) -> None:
        """It is over, one way or another. Without peer the block was handed in."""
        if self._tracer.is_on:
            parent = None if peer is None else step_id(Step.HEARD, header.hash, peer)
            began = self._taken_from.pop(header.hash, time.time_ns())
            self._record(Step.TAKEN, header, began, parent, outcome)

    def lasted(self, step: Step, header: Header, started_ns: int, outcome: str) -> None:
        """A step below the block's own span is over."""
        self._record(step, header, started_ns, step_id(Step.TAKEN, header.hash), outcome)

    def _record(self, step: Step, header: Header, started_ns: int, parent: SpanId | None, outcome: str) -> None:
        self._tracer.record(
            Span(
                step=step,
                block_hash=header.hash,
                started_ns=started_ns,
                ended_ns=time.time_ns(),
                parent=parent,
                span_id=step_id(step, header.hash) if step is Step.TAKEN else None,
                attributes={"block.number": header.number, "outcome": outcome},
            )
        )


class _Lasting(AbstractContextManager["_Lasting"]):
    """A step under way, below the block's own span."""

    def __init__(self, traces: BlockTraces, step: Step, header: Header) -> None:
        self._traces, self._step, self._header = traces, step, header
        self._started_ns = time.time_ns()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = "ok" if kind is None else kind.__name__
        self._traces.lasted(self._step, self._header, self._started_ns, outcome)


def _begin(begun: dict[BlockHash, int], block_hash: BlockHash) -> None:
    """The first time counts."""
    if block_hash not in begun and len(begun) >= MOST_BEGUN:
        del begun[next(iter(begun))]
    begun.setdefault(block_hash, time.time_ns())
