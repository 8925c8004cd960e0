"""Writing in turns: one message each, a bounded slice at a time. The loop is a list of what it is to call."""

from __future__ import annotations

from collections.abc import Callable

from services.peer_gateway.edges.write_turns import TURN_COST, WriteTurns


class Writer:
    def __init__(self, name: str, messages: int, size_bytes: int, written: list[str]) -> None:
        self.name, self.messages, self.size_bytes, self.written = name, messages, size_bytes, written

    @property
    def wants_to_write(self) -> bool:
        return self.messages > 0

    def write_next(self) -> int:
        if not self.messages:
            return 0
        self.messages -= 1
        self.written.append(self.name)
        return self.size_bytes


def turns_and_calls() -> tuple[WriteTurns, list[Callable[[], None]]]:
    calls: list[Callable[[], None]] = []
    return WriteTurns(calls.append), calls


def run(calls: list[Callable[[], None]]) -> int:
    """Call what is to be called until nothing is; how often that was."""
    count = 0
    while calls:
        calls.pop(0)()
        count += 1
    return count


def test_writers_write_one_message_each_in_turn():
    turns, calls = turns_and_calls()
    written: list[str] = []
    for writer in (Writer("alice", 3, 10, written), Writer("bob", 1, 10, written), Writer("mallory", 2, 10, written)):
        turns.join(writer)
        turns.join(writer)
    assert written == []
    run(calls)
    assert written == ["alice", "bob", "mallory", "alice", "mallory", "alice"]


def test_a_broadcast_to_hundreds_gives_the_loop_back_in_between():
    turns, calls = turns_and_calls()
    written: list[str] = []
    for number in range(500):
        turns.join(Writer(str(number), 1, 100 * 1024, written))
    calls.pop(0)()
    assert 0 < len(written) <= TURN_COST // (100 * 1024) + 1
    assert run(calls) >= 500 * 100 * 1024 // TURN_COST
    assert written == [str(number) for number in range(500)]


def test_a_writer_that_must_wait_is_passed_over_until_it_joins_again():
    turns, calls = turns_and_calls()
    written: list[str] = []
    alice = Writer("alice", 0, 10, written)
    turns.join(alice)
    assert run(calls) == 1
    alice.messages = 1
    turns.join(alice)
    run(calls)
    assert written == ["alice"]
