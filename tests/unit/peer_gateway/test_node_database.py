"""The memory of nodes: what it keeps, forgets, and does about a file that is not right."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.peer_gateway.edges import node_database
from services.peer_gateway.edges.node_database import (
    EXPIRE_INTERVAL_S,
    FILE_NAME,
    NODE_LIFETIME_S,
    SEED_COUNT,
    SEED_MAX_AGE_S,
    NodeDatabase,
)
from services.shared.chainspec.enode import Enode
from tests.support.nodes import stranger

NOW = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def remember(path: Path, nodes: list[Enode], last_pong: float = NOW, clock: Clock | None = None) -> None:
    with closing(NodeDatabase(path, clock or Clock())) as database:
        for node in nodes:
            database.store_node(node, last_pong, 0)


def recalled(path: Path, now: float = NOW, seed: int = 7) -> list[Enode]:
    clock = Clock()
    clock.now = now
    with closing(NodeDatabase(path, clock)) as database:
        return database.seeds(random.Random(seed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway" / FILE_NAME


def test_nodes_are_there_after_a_restart(path: Path):
    nodes = [stranger(1), stranger(2, "2001:db8::1"), stranger(3, "10.0.0.1", 1)]
    remember(path, nodes)
    assert set(recalled(path)) == set(nodes)


def test_node_is_known_at_its_last_address_only(path: Path):
    remember(path, [stranger(1), stranger(1, "21.0.0.9", 4)])
    assert recalled(path) == [stranger(1, "21.0.0.9", 4)]


def test_thirty_nodes_are_recalled_by_chance(path: Path):
    remember(path, [stranger(number) for number in range(200)])
    first, second = recalled(path, seed=1), recalled(path, seed=2)
    assert len(first) == len(set(first)) == SEED_COUNT
    assert set(first) != set(second)


def test_node_silent_for_five_days_is_not_recalled(path: Path):
    remember(path, [stranger(1)])
    assert recalled(path, NOW + SEED_MAX_AGE_S - 1) == [stranger(1)]
    assert recalled(path, NOW + SEED_MAX_AGE_S) == []


def test_node_without_a_pong_for_a_day_is_forgotten_an_hour_after_the_start(path: Path):
    remember(path, [stranger(1)])
    clock = Clock()
    clock.now = NOW + NODE_LIFETIME_S + 1
    remember(path, [stranger(2)], clock.now, clock)
    assert set(recalled(path, clock.now)) == {stranger(1), stranger(2)}
    with closing(NodeDatabase(path, clock)) as database:
        clock.now += EXPIRE_INTERVAL_S
        database.store_node(stranger(3), clock.now, 0)
    assert set(recalled(path, clock.now)) == {stranger(2), stranger(3)}


def foreign_file(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def later_version(path: Path) -> None:
    remember(path, [stranger(9)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def torn_file(path: Path) -> None:
    remember(path, [stranger(number) for number in range(500)])
    content = bytearray(path.read_bytes())
    content[4096:-4096] = random.Random(1).randbytes(len(content) - 8192)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"x" * 5000), foreign_file, later_version, torn_file],
    ids=["no database", "foreign", "later version", "torn"],
)
def test_file_that_is_damaged_or_not_ours_is_set_aside_with_one_line(path: Path, spoil):
    path.parent.mkdir()
    spoil(path)
    before = path.read_bytes()
    with capture_logs() as lines:
        remember(path, [stranger(1)])
    assert recalled(path) == [stranger(1)]
    assert [aside.read_bytes() for aside in path.parent.glob(f"{FILE_NAME}.damaged-*")] == [before]
    assert len([line for line in lines if "damaged or not ours" in str(line)]) == 1


def test_directory_that_cannot_be_used_costs_one_line_and_nothing_else(tmp_path: Path):
    (tmp_path / "gateway").write_text("a file")
    with capture_logs() as lines:
        remember(tmp_path / "gateway" / FILE_NAME, [stranger(1)])
    assert len([line for line in lines if "not remembered" in str(line)]) == 1


def test_row_that_is_no_node_is_passed_over(path: Path):
    remember(path, [stranger(1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in [
            (b"short", "21.0.0.1", 1, 1),
            (bytes(64), "21.0.0.1", 70_000, 1),
            (b"\x01" * 64, "21.0.0.1", "x", 1),
        ]:
            connection.execute("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, 0)", (*row, NOW))
    assert recalled(path) == [stranger(1)]


def test_what_a_slow_disk_cannot_take_is_lost_without_waiting(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_database, "WRITES_QUEUED", 3)
    remember(path, [stranger(number) for number in range(100)])
    assert 1 <= len(recalled(path)) <= SEED_COUNT
