from __future__ import annotations

import pytest

from services.shared.rpc.outbox import Outbox, OutboxClosed
from tests.support.coroutines import finish


async def drain(outbox: Outbox[str]) -> list[str]:
    return [item async for item in outbox]


def test_items_come_out_in_order():
    outbox: Outbox[str] = Outbox(limit_bytes=100)
    assert all(outbox.put(item, 10) for item in "abc")
    assert [finish(outbox.get()) for _ in range(3)] == ["a", "b", "c"]
    assert outbox.bytes_queued == 0


def test_put_is_refused_once_the_limit_would_be_passed():
    outbox: Outbox[str] = Outbox(limit_bytes=100)
    assert outbox.put("a", 60)
    assert outbox.put("b", 40)
    assert outbox.is_full
    assert not outbox.put("c", 1)
    assert outbox.bytes_queued == 100
    finish(outbox.get())
    assert outbox.put("c", 60)


def test_item_larger_than_the_limit_passes_alone():
    outbox: Outbox[str] = Outbox(limit_bytes=100)
    assert outbox.put("huge", 1000)
    assert not outbox.put("a", 1)
    assert finish(outbox.get()) == "huge"
    assert outbox.put("a", 1)


def test_closed_outbox_gives_what_is_queued_and_then_ends():
    outbox: Outbox[str] = Outbox(limit_bytes=100)
    outbox.put("a", 1)
    outbox.close()
    assert not outbox.put("b", 1)
    assert finish(drain(outbox)) == ["a"]
    with pytest.raises(OutboxClosed):
        finish(outbox.get())


def test_wait_below_returns_at_once_when_little_is_queued_or_the_outbox_is_closed():
    outbox: Outbox[str] = Outbox(limit_bytes=100)
    outbox.put("a", 50)
    finish(outbox.wait_below(51))
    outbox.close()
    finish(outbox.wait_below(1))
