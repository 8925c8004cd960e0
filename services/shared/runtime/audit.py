"""The audit log: one line for each call that changes what a node does, and for each that was refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import structlog

from services.shared.ethwire.hashing import keccak256
from services.shared.runtime.callers import shown
from services.shared.runtime.logs import Log

REFUSALS_AT_ONCE: Final = 20

REFUSALS_PER_S: Final = 1.0


def _enode(request: Any) -> str:
    return shown(request.enode)


def _block(request: Any) -> str:
    return f"block of {len(request.block_rlp)} bytes"


def _transaction(request: Any) -> str:
    # The hash of a transaction is that of its bytes, as of EIP-2718.
    return f"transaction 0x{keccak256(request.raw or b'').hex()}"


def _next_sync(request: Any) -> str:  # noqa: ARG001 - the request is empty
    return "a sync"


AUDITED: Final[Mapping[str, Callable[[Any], str]]] = {
    "blocksync.v1.CoordinatorService/AddPeer": _enode,
    "blocksync.v1.CoordinatorService/RemovePeer": _enode,
    "blocksync.v1.CoordinatorService/AddTrustedPeer": _enode,
    "blocksync.v1.CoordinatorService/RemoveTrustedPeer": _enode,
    "blocksync.v1.CoordinatorService/StartSync": _next_sync,
    "blocksync.v1.BlockService/SubmitBlock": _block,
    "blocksync.v1.TransactionService/SubmitTransaction": _transaction,
}
"""What each call that changes something is about, from its request."""


def answer_text(answer: Any) -> str:
    """The words of an answer that tell what came of the call."""
    if (explanation := getattr(answer, "explanation", "")) and isinstance(explanation, str):
        return shown(explanation)
    block = getattr(answer, "block", None)
    if block is not None:
        return f"block {block.number} 0x{block.block_hash.hex()}"
    return "done"


def audit_log() -> Log:
    """Lines on it are written at every --log-level."""
    wrapper = structlog.make_filtering_bound_logger(logging.INFO)
    return cast("Log", structlog.wrap_logger(None, wrapper_class=wrapper, part="audit"))


class RefusalLines:
    """How many refused calls are told of: a stranger must not fill the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._left, self._filled_at = clock, float(REFUSALS_AT_ONCE), clock()
        self._skipped = 0

    def take(self) -> int | None:
        """None when the line is to be left out; else how many were left out since the last one."""
        now = self._clock()
        grown = self._left + (now - self._filled_at) * REFUSALS_PER_S
        self._left, self._filled_at = min(float(REFUSALS_AT_ONCE), grown), now
        if self._left < 1:
            self._skipped += 1
            return None
        self._left -= 1
        skipped, self._skipped = self._skipped, 0
        return skipped
