"""Reads and checks transactions off the event loop: recovering a sender takes 30 us, for which the library lets the
interpreter run on, so a thread is enough (measured: the loop is held for under a millisecond)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.broadcaster.core.followed_chain import BlockBody
from services.broadcaster.core.transaction import decode_transaction
from services.broadcaster.core.transaction_check import (
    CheckedTransaction,
    PoolRules,
    Refused,
    check_transaction,
    recover_sender,
)
from services.shared.ethwire.bodies import transaction_items
from services.shared.ethwire.faults import MalformedRlp

Verdict = CheckedTransaction | Refused


class CheckingThread:
    """One thread, so that work is done in the order it is asked for. Caller's duty: `close` at the end."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transaction-check")

    async def check(self, wires: Sequence[bytes], rules: PoolRules, *, is_local: bool = False) -> list[Verdict]:
        """One verdict for each, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _check_all, wires, rules, is_local)

    async def read_bodies(self, bodies: Sequence[BlockBody]) -> list[list[CheckedTransaction]]:
        """The transactions of each, with their senders. They are in blocks, so nothing but the sender is asked."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _read_all, bodies)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _check_all(wires: Sequence[bytes], rules: PoolRules, is_local: bool) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for wire in wires:
        try:
            verdicts.append(check_transaction(wire, rules, is_local=is_local))
        except Refused as refused:
            verdicts.append(refused)
    return verdicts


def _read_all(bodies: Sequence[BlockBody]) -> list[list[CheckedTransaction]]:
    return [read_body(body.body_rlp) for body in bodies]


def read_body(body_rlp: bytes) -> list[CheckedTransaction]:
    """A block's transactions. What cannot be read (a type that is not known here) is left out: it cannot have been
    pooled either. Raises MalformedRlp for what is no body."""
    found = []
    for wire in transaction_items(body_rlp):
        try:
            transaction = decode_transaction(wire)
            found.append(CheckedTransaction(transaction, recover_sender(transaction, low_s=False)))
        except (MalformedRlp, Refused):
            continue
    return found
