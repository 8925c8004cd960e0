"""The broadcaster's part in the traces of blocks: how it decided whom to send one, or to tell of it."""

from __future__ import annotations

import secrets
import time

from services.shared.ethwire.types import Announce
from services.shared.runtime.tracing import SPAN_ID_BYTES, NullTracer, Span, SpanId, Step, Tracer, step_id


class BlockTraces:
    """With tracing off, each call is one look at a flag."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or NullTracer()

    def deciding(self, step: Step, block: Announce) -> Decision | None:
        """A decision begins."""
        return Decision(self._tracer, step, block) if self._tracer.is_on else None


class Decision:
    """One span; its id goes to the gateways with what was decided."""

    def __init__(self, tracer: Tracer, step: Step, block: Announce) -> None:
        self._tracer, self._step, self._block = tracer, step, block
        self._started_ns = time.time_ns()
        self.span_id = SpanId(secrets.token_bytes(SPAN_ID_BYTES))

    def over(self, *, sent: int, lacking: int | None = None) -> None:
        """Queued for so many peers, of so many that lacked the block where that was counted."""
        counts = {"peers.chosen": sent} | ({} if lacking is None else {"peers.lacking": lacking})
        self._tracer.record(
            Span(
                step=self._step,
                block_hash=self._block.block_hash,
                started_ns=self._started_ns,
                ended_ns=time.time_ns(),
                parent=step_id(Step.TAKEN, self._block.block_hash),
                span_id=self.span_id,
                attributes={"block.number": self._block.number, **counts},
            )
        )
