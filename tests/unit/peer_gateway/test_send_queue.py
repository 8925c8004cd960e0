"""What waits for one peer: order, limits, and what becomes of a peer that does not read. Time is a number."""

from __future__ import annotations

import pytest

from services.peer_gateway.core.send_queue import LIMITS, TOTAL_BYTES, Limit, Outgoing, PeerStuck, SendQueue, Urgency
from services.peer_gateway.core.snappy_codec import Payload, inflate
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES, SOFT_REPLY_BYTES

BROADCASTS = [Urgency.BLOCK, Urgency.ANNOUNCE, Urgency.TRANSACTIONS]


def message(code: int = 0, size_bytes: int = 10) -> Outgoing:
    return Outgoing(code, Payload(bytes(size_bytes)))


def taken(queue: SendQueue) -> list[int]:
    codes = []
    while (following := queue.take()) is not None:
        codes.append(following.code)
    return codes


def test_the_most_urgent_class_is_written_first_whatever_came_first():
    queue = SendQueue(20.0)
    for urgency in reversed(Urgency):
        assert queue.put(urgency, message(int(urgency)))
    assert taken(queue) == sorted(Urgency)
    assert (len(queue), queue.bytes_queued) == (0, 0)


def test_within_a_class_the_oldest_is_written_first():
    queue = SendQueue(20.0)
    for code in range(4):
        queue.put(Urgency.BLOCK, message(code))
    assert taken(queue) == [0, 1, 2, 3]


@pytest.mark.parametrize("urgency", Urgency)
def test_a_full_class_refuses_the_new_message_and_keeps_what_it_has(urgency):
    queue, most = SendQueue(20.0), LIMITS[urgency].messages
    assert [queue.put(urgency, message(code)) for code in range(most + 3)] == [True] * most + [False] * 3
    assert not queue.has_room(urgency)
    assert taken(queue) == list(range(most))
    assert queue.has_room(urgency)


def test_the_classes_hold_as_many_messages_as_the_specification_says():
    assert [LIMITS[urgency].messages for urgency in BROADCASTS] == [4, 4, 128]


@pytest.mark.parametrize("urgency", [*BROADCASTS, Urgency.OWN])
def test_a_class_full_of_bytes_refuses_too_but_one_large_message_may_wait_alone(urgency):
    queue = SendQueue(20.0)
    assert queue.put(urgency, message(1, MAX_ETH_MESSAGE_BYTES))
    assert not queue.put(urgency, message(2, 1))
    queue.take()
    assert queue.put(urgency, message(3, LIMITS[urgency].size_bytes))
    assert not queue.put(urgency, message(4, 1))


def test_a_full_class_does_not_keep_another_from_waiting():
    queue = SendQueue(20.0)
    while queue.put(Urgency.TRANSACTIONS, message(0, 100_000)):
        pass
    assert queue.put(Urgency.BLOCK, message(7, 100_000))
    assert queue.put(Urgency.REPLY, message(8, SOFT_REPLY_BYTES))
    assert queue.put(Urgency.OWN, message(9))
    assert taken(queue)[:2] == [9, 7]


def test_the_classes_together_hold_no_more_than_their_total():
    queue = SendQueue(20.0, dict.fromkeys(Urgency, Limit(10, 1000)), total_bytes=1500)
    assert queue.put(Urgency.BLOCK, message(0, 1000))
    assert queue.put(Urgency.TRANSACTIONS, message(1, 500))
    assert not queue.put(Urgency.ANNOUNCE, message(2, 1))
    assert queue.put(Urgency.REPLY, message(3, 5000)), "replies wait by another rule"
    queue.take()
    assert queue.put(Urgency.ANNOUNCE, message(2, 1))


def test_nothing_is_taken_while_the_peer_must_read_first():
    queue = SendQueue(20.0)
    queue.put(Urgency.OWN, message(1))
    queue.on_blocked(100.0)
    assert queue.take() is None
    assert queue.put(Urgency.OWN, message(2))
    queue.on_drained()
    assert taken(queue) == [1, 2]


def test_a_peer_that_reads_nothing_is_stuck_after_the_write_timeout():
    queue = SendQueue(20.0)
    assert queue.next_wakeup() is None
    queue.on_blocked(100.0)
    queue.on_blocked(110.0)
    assert queue.next_wakeup() == 120.0
    queue.on_wakeup(119.9)
    with pytest.raises(PeerStuck) as raised:
        queue.on_wakeup(120.0)
    assert raised.value.disconnect_reason is DisconnectReason.NETWORK_ERROR


def test_a_peer_that_reads_in_time_has_the_whole_time_again():
    queue = SendQueue(20.0)
    queue.on_blocked(100.0)
    queue.on_drained()
    queue.on_wakeup(1000.0)
    queue.on_blocked(119.0)
    assert queue.next_wakeup() == 139.0


def test_a_peer_that_never_reads_costs_a_bounded_memory_and_nobody_else_any():
    stuck, reading = SendQueue(20.0), SendQueue(20.0)
    stuck.on_blocked(0.0)
    refused = 0
    for second in range(19):
        for urgency in Urgency:
            for _ in range(50):
                refused += not stuck.put(urgency, message(0, 300_000))
                assert reading.put(urgency, message(0, 300_000))
                assert reading.take() is not None
        stuck.on_wakeup(float(second))
        assert stuck.bytes_queued <= TOTAL_BYTES + 300_000
    assert refused > 4000
    with pytest.raises(PeerStuck):
        stuck.on_wakeup(20.0)
    stuck.clear()
    assert (len(stuck), stuck.bytes_queued, stuck.next_wakeup()) == (0, 0, None)


def test_a_payload_for_many_is_compressed_once():
    payload = Payload(bytes(1000))
    assert payload.compressed() is payload.compressed()
    assert (inflate(payload.compressed()), len(payload)) == (bytes(1000), 1000)
