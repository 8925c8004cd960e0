"""The feed of blocks, as values: steps that keep a copy of the canonical chain."""

from __future__ import annotations

from dataclasses import dataclass

from blocksync.v1 import coordinator_pb2

from trisync.node_status import ChainHead, head_from_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Add a block: the child of the newest one, or the first that was asked for.

    `body_rlp` is None unless bodies were asked for; `receipts_rlp` also where the receipts are not stored.
    Keep `cursor` together with what the step did: the feed goes on after it.
    """

    head: ChainHead
    header_rlp: bytes
    body_rlp: bytes | None
    receipts_rlp: bytes | None
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Take the newest block away; the one with `parent_hash` is the newest now."""

    number: int
    block_hash: bytes
    parent_hash: bytes
    cursor: str


Step = Apply | Undo


def step_from_proto(step: coordinator_pb2.BlockStep) -> Step:
    if step.HasField("undone"):
        undone = step.undone
        return Undo(
            number=undone.number, block_hash=undone.block_hash, parent_hash=undone.parent_hash, cursor=step.cursor
        )
    applied = step.applied
    return Apply(
        head=head_from_proto(applied.head),
        header_rlp=applied.header_rlp,
        body_rlp=applied.body_rlp if applied.HasField("body_rlp") else None,
        receipts_rlp=applied.receipts_rlp if applied.HasField("receipts_rlp") else None,
        cursor=step.cursor,
    )
