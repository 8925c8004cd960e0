"""What is asked of a block that an operator hands in, beyond the rules of every block, and why one is refused."""

from __future__ import annotations

import enum
from typing import Final

from services.shared.ethwire.bodies import split_block
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from services.shared.ethwire.types import Block, Body, Header
from services.sync_coordinator.core.block_queue import DISTANCE_BELOW_HEAD
from services.sync_coordinator.core.rule_broken import RuleBroken

NEW_BLOCK_OVERHEAD_BYTES: Final = 64
"""What NewBlock adds to a block: a list's prefix, and a total difficulty of at most 33 bytes."""

MAX_SUBMITTED_BYTES: Final = MAX_ETH_MESSAGE_BYTES - NEW_BLOCK_OVERHEAD_BYTES
"""A larger block could be sent to no peer."""


class RefusalCause(enum.Enum):
    """Why a submitted block was not taken; the names are labels in metrics."""

    TOO_LARGE = "too large"
    UNDECODABLE = "undecodable"
    OTHER_BODY = "other body"
    RULE_BROKEN = "rule broken"
    PARENT_UNKNOWN = "parent unknown"
    TOO_EARLY = "too early"
    TOO_OLD = "too old"
    LIGHT_MODE = "light mode"
    FIRST_SYNC = "first sync"

    @property
    def is_in_the_block(self) -> bool:
        """Whether no node, and at no time, would take these bytes."""
        return self in _IN_THE_BLOCK


_IN_THE_BLOCK: Final = frozenset(
    {RefusalCause.TOO_LARGE, RefusalCause.UNDECODABLE, RefusalCause.OTHER_BODY, RefusalCause.RULE_BROKEN}
)


class BlockRefused(Exception):
    """A submitted block is not taken. The text names the value, the rule and what to do."""

    def __init__(self, cause: RefusalCause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def read_submitted(block_rlp: bytes) -> Block:
    """The block, whose body is not yet compared with its header. Raises BlockRefused."""
    size = len(block_rlp)
    if size > MAX_SUBMITTED_BYTES:
        text = f"the block has {size} bytes, and no peer takes more than {MAX_SUBMITTED_BYTES}; make a smaller one"
        raise BlockRefused(RefusalCause.TOO_LARGE, text)
    try:
        header_rlp, body_rlp = split_block(block_rlp)
        return Block(decode_header(header_rlp), body_rlp)
    except MalformedRlp as fault:
        raise undecodable(size, fault) from fault


def undecodable(size: int, fault: MalformedRlp) -> BlockRefused:
    wanted = "submit the RLP of [header, transactions, uncles]"
    return BlockRefused(RefusalCause.UNDECODABLE, f"these {size} bytes are no block: {fault}; {wanted}")


def check_body(header: Header, body: Body) -> None:
    """Raises BlockRefused unless the header promises this body."""
    for name, promised, found in (
        ("transactions root", header.transactions_root, body.transactions_root),
        ("uncles hash", header.uncles_hash, body.uncles_hash),
    ):
        if promised != found:
            differs = f"its header says 0x{promised.hex()}, its body has 0x{found.hex()}"
            text = f"{named(header)}: {name}: {differs}; submit the body that was sealed"
            raise BlockRefused(RefusalCause.OTHER_BODY, text)


def check_age(header: Header, head_number: int) -> None:
    """Raises BlockRefused for a block too far below our head to matter."""
    below = head_number - header.number
    if below > DISTANCE_BELOW_HEAD:
        rule = f"is {below} below the head {head_number}, at most {DISTANCE_BELOW_HEAD} are of use"
        raise BlockRefused(RefusalCause.TOO_OLD, f"{named(header)} {rule}; build on the head")


def parent_unknown(header: Header) -> BlockRefused:
    text = f"{named(header)}: its parent 0x{header.parent_hash.hex()} is not stored with its body"
    return BlockRefused(RefusalCause.PARENT_UNKNOWN, f"{text}; submit that first, or wait until this node has synced")


def rule_broken(header: Header, fault: RuleBroken) -> BlockRefused:
    """What is said of a block that breaks a rule; one that is only ahead of our clock breaks none for ever."""
    text = f"{named(header)}: {fault.rule}: {fault.detail}"
    if fault.ahead_s > 0:
        return BlockRefused(RefusalCause.TOO_EARLY, f"{text}; submit it when its time has come, and compare the clocks")
    return BlockRefused(RefusalCause.RULE_BROKEN, text)


def named(header: Header) -> str:
    return f"block {header.number} 0x{header.hash.hex()}"
