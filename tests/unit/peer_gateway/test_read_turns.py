"""Reading in turns: a bounded slice at a time. The loop is a list of what it is to call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.peer_gateway.edges.read_turns import TURN_BYTES, ReadTurns


class Reader:
    def __init__(self, name: str, size_bytes: int, read: list[str], *, is_broken: bool = False) -> None:
        self.name, self.size_bytes, self.read, self.is_broken = name, size_bytes, read, is_broken

    def read_next(self) -> int:
        if self.is_broken:
            raise AssertionError("a bug")
        self.read.append(self.name)
        return self.size_bytes


def turns_and_calls() -> tuple[ReadTurns, list[Callable[[], None]]]:
    calls: list[Callable[[], None]] = []
    return ReadTurns(calls.append), calls


def test_readers_work_in_the_order_in_which_they_joined():
    turns, calls = turns_and_calls()
    read: list[str] = []
    for name in ("alice", "bob", "mallory"):
        turns.join(Reader(name, 1, read))
    assert len(calls) == 1
    calls.pop()()
    assert read == ["alice", "bob", "mallory"]
    assert calls == []


def test_a_turn_ends_when_its_bytes_are_used_up():
    turns, calls = turns_and_calls()
    read: list[str] = []
    for at in range(10):
        turns.join(Reader(str(at), TURN_BYTES // 2, read))
    for done in (2, 4, 6, 8, 10):
        calls.pop()()
        assert len(read) == done
    assert calls == []


def test_a_bug_that_one_readers_bytes_find_does_not_keep_the_others_waiting():
    turns, calls = turns_and_calls()
    read: list[str] = []
    turns.join(Reader("mallory", 1, read, is_broken=True))
    turns.join(Reader("alice", 1, read))
    with pytest.raises(AssertionError):
        calls.pop()()
    calls.pop()()
    assert read == ["alice"]
