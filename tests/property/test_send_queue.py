"""The send queue against a model: nothing is lost, doubled or overtaken within a class, and no limit is passed."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.peer_gateway.core.send_queue import Limit, Outgoing, PeerStuck, SendQueue, Urgency
from services.peer_gateway.core.snappy_codec import Payload

LIMITS = {
    Urgency.OWN: Limit(6, 300),
    Urgency.BLOCK: Limit(4, 500),
    Urgency.ANNOUNCE: Limit(4, 100),
    Urgency.TRANSACTIONS: Limit(8, 400),
    Urgency.REPLY: Limit(1, 0),
}
TOTAL_BYTES, LARGEST, STUCK_S = 900, 600, 20.0


class SendQueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.blocked_at: float | None = None
        self.queue = SendQueue(STUCK_S, LIMITS, TOTAL_BYTES)
        self.model: dict[Urgency, list[Outgoing]] = {urgency: [] for urgency in sorted(Urgency)}
        self.number = 0

    @rule(urgency=st.sampled_from(Urgency), size=st.integers(0, LARGEST))
    def put(self, urgency, size):
        self.number += 1
        message = Outgoing(self.number, Payload(bytes(size)))
        had_room = self.queue.has_room(urgency, size)
        assert self.queue.put(urgency, message) is had_room
        if had_room:
            self.model[urgency].append(message)
        else:
            assert len(self.queue) > 0, "an empty queue takes anything"

    @rule(times=st.integers(1, 5))
    def take(self, times):
        for _ in range(times):
            expected = next((waiting for waiting in self.model.values() if waiting), None)
            if self.blocked_at is not None or expected is None:
                assert self.queue.take() is None
                return
            assert self.queue.take() is expected.pop(0)

    @rule()
    def block(self):
        self.queue.on_blocked(self.now)
        self.blocked_at = self.now if self.blocked_at is None else self.blocked_at

    @rule()
    def drain(self):
        self.queue.on_drained()
        self.blocked_at = None

    @rule(seconds=st.floats(0.1, 12))
    def time_passes(self, seconds):
        self.now += seconds
        is_stuck = False
        try:
            self.queue.on_wakeup(self.now)
        except PeerStuck:
            is_stuck = True
        assert is_stuck == (self.blocked_at is not None and self.now >= self.blocked_at + STUCK_S)

    @invariant()
    def limits_hold(self):
        sizes = {urgency: sum(len(each.payload) for each in waiting) for urgency, waiting in self.model.items()}
        assert self.queue.bytes_queued == sum(sizes.values())
        assert len(self.queue) == sum(map(len, self.model.values()))
        for urgency, waiting in self.model.items():
            assert len(waiting) <= LIMITS[urgency].messages
            assert len(waiting) <= 1 or sizes[urgency] <= LIMITS[urgency].size_bytes
        assert self.queue.bytes_queued - sizes[Urgency.REPLY] <= max(TOTAL_BYTES, LARGEST)

    @invariant()
    def the_timer_is_that_of_the_blocked_peer(self):
        assert self.queue.next_wakeup() == (None if self.blocked_at is None else self.blocked_at + STUCK_S)


TestSendQueue = SendQueueMachine.TestCase
