from __future__ import annotations

import pytest

from services.shared.ethwire.bodies import body_roots, join_block
from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.block_queue import DISTANCE_BELOW_HEAD
from services.sync_coordinator.core.block_submission import (
    MAX_SUBMITTED_BYTES,
    BlockRefused,
    RefusalCause,
    check_age,
    check_body,
    parent_unknown,
    read_submitted,
    rule_broken,
)
from services.sync_coordinator.core.rule_broken import broken, too_early
from tests.support.ruled_chain import GENESIS, ruled_block

BLOCK = ruled_block(GENESIS)
HEADER = BLOCK.header
RLP = join_block(HEADER.header_rlp, BLOCK.body_rlp)


def refusal_of(block_rlp: bytes) -> BlockRefused:
    with pytest.raises(BlockRefused) as refused:
        read_submitted(block_rlp)
    return refused.value


def test_block_is_read_when_its_bytes_are_one():
    assert read_submitted(RLP) == BLOCK


@pytest.mark.parametrize(
    "block_rlp", [b"", b"\x80", RLP[:-1], RLP + b"\xc0", HEADER.header_rlp, b"\xc3\xc0\xc0\xc0", b"\xff" * 40]
)
def test_bytes_that_are_no_block_are_refused_with_what_is_wanted(block_rlp):
    refusal = refusal_of(block_rlp)
    assert refusal.cause is RefusalCause.UNDECODABLE
    assert str(refusal).startswith(f"these {len(block_rlp)} bytes are no block: ")
    assert str(refusal).endswith("submit the RLP of [header, transactions, uncles]")


def test_block_is_refused_by_its_size_before_it_is_read():
    refusal = refusal_of(bytes(MAX_SUBMITTED_BYTES + 1))
    assert refusal.cause is RefusalCause.TOO_LARGE
    assert str(MAX_SUBMITTED_BYTES) in str(refusal)


def test_body_is_refused_when_its_header_promises_another():
    body = body_roots(BLOCK.body_rlp)
    check_body(HEADER, body)
    for field, name in (("transactions_root", "transactions root"), ("uncles_hash", "uncles hash")):
        with pytest.raises(BlockRefused, match=f"{name}: its header says 0x[0-9a-f]+, its body has 0x1717") as refused:
            check_body(HEADER, body._replace(**{field: b"\x17" * 32}))
        assert refused.value.cause is RefusalCause.OTHER_BODY


def test_block_is_refused_when_it_is_too_far_below_the_head():
    check_age(HEADER, HEADER.number + DISTANCE_BELOW_HEAD)
    with pytest.raises(BlockRefused, match="is 8 below the head 9, at most 7 are of use; build on the head"):
        check_age(HEADER, HEADER.number + DISTANCE_BELOW_HEAD + 1)


def test_refusal_names_block_value_and_rule_and_whether_the_block_is_at_fault():
    named = f"block 1 0x{HEADER.hash.hex()}: "
    other = with_hash(HEADER._replace(difficulty=7))
    fault = rule_broken(HEADER, broken(other, "difficulty", "is 7, must be 131072"))
    early = rule_broken(HEADER, too_early(HEADER, HEADER.timestamp - 40.0))
    orphan = parent_unknown(HEADER)
    assert (str(fault), fault.cause) == (f"{named}difficulty: is 7, must be 131072", RefusalCause.RULE_BROKEN)
    assert str(early).startswith(f"{named}timestamp-future: 13 is 40 s ahead of our clock; submit it when")
    assert (early.cause, orphan.cause) == (RefusalCause.TOO_EARLY, RefusalCause.PARENT_UNKNOWN)
    assert f"its parent 0x{GENESIS.hash.hex()} is not stored" in str(orphan)
    assert [refusal.cause.is_in_the_block for refusal in (fault, early, orphan)] == [True, False, False]
