"""static-nodes.json and trusted-nodes.json: what is read from them, and when."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.shared.chainspec.enode import Enode, parse_enode
from services.sync_coordinator.core.node_file import NodeFileBroken, parse_node_file
from services.sync_coordinator.edges.node_files import MAX_FILE_BYTES, NodeFile, read_node_files
from tests.support.wire import local_node


def url(name: str, port: int = 30303) -> str:
    return f"enode://{local_node(name).node_id.hex()}@127.0.0.1:{port}"


ALICE, BOB = url("alice"), url("bob")


class Taken:
    """What a file handed on, and what was logged as an error meanwhile."""

    def __init__(self, path: Path) -> None:
        self.lists: list[list[str]] = []
        self.path = path
        self._file = NodeFile(path, self._take)

    def _take(self, nodes: Sequence[Enode]) -> None:
        self.lists.append([str(node) for node in nodes])

    def poll(self) -> list[str]:
        with capture_logs() as lines:
            self._file.poll()
        return [str(line["why"]) for line in lines if line["log_level"] == "error" and "why" in line]


@pytest.fixture
def static(tmp_path: Path) -> Taken:
    return Taken(tmp_path / "static-nodes.json")


def test_usable_entries_are_read_and_the_others_told_with_the_rule():
    listed = parse_node_file(json.dumps([ALICE, "enode://12@1.2.3.4:5", 7, "", BOB]).encode())
    assert [str(node) for node in listed.nodes] == [ALICE, BOB]
    assert len(listed.problems) == 2
    assert "entry 2: 'enode://12@1.2.3.4:5' is not an enode URL: its node id is not 128 hex digits" in listed.problems
    assert "entry 3, 7, is not a text in quotes" in listed.problems


def test_node_that_is_listed_twice_is_taken_once_at_its_last_address():
    listed = parse_node_file(json.dumps([ALICE, url("alice", 30304)]).encode())
    assert [node.tcp_port for node in listed.nodes] == [30304]


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b'["enode://', b"{}", b'"enode://"', b"null", b"\xff\xfe", b"[" * 100_000, b"[1" + b"0" * 9000],
)
def test_file_that_is_no_list_is_broken(content: bytes):
    with pytest.raises(NodeFileBroken):
        parse_node_file(content)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_content_is_a_list_or_broken(content: bytes):
    try:
        parse_node_file(content)
    except NodeFileBroken:
        return


def test_file_is_handed_on_when_it_appears_changes_and_goes(static: Taken):
    assert static.poll() == []
    static.path.write_text(json.dumps([ALICE]))
    static.poll()
    static.poll()
    static.path.write_text(json.dumps([ALICE, BOB]))
    static.poll()
    static.path.unlink()
    static.poll()
    static.poll()
    assert static.lists == [[ALICE], [ALICE, BOB], []]


def test_content_that_is_the_same_under_a_new_date_is_not_handed_on(static: Taken):
    static.path.write_text(json.dumps([ALICE]))
    static.poll()
    os.utime(static.path, (1, 1))
    static.poll()
    assert static.lists == [[ALICE]]


def test_half_written_file_keeps_the_last_list_with_one_line(static: Taken):
    whole = json.dumps([ALICE, BOB])
    static.path.write_text(json.dumps([ALICE]))
    static.poll()
    static.path.write_text(whole[:-5])
    assert len(static.poll()) == 1
    assert static.poll() == []
    assert static.lists == [[ALICE]]
    static.path.write_text(whole)
    assert static.poll() == []
    assert static.lists == [[ALICE], [ALICE, BOB]]


def test_file_replaced_in_one_step_is_noticed(static: Taken, tmp_path: Path):
    static.path.write_text(json.dumps([ALICE]))
    static.poll()
    other = tmp_path / "new"
    other.write_text(json.dumps([BOB]))
    other.replace(static.path)
    static.poll()
    assert static.lists == [[ALICE], [BOB]]


def test_file_that_cannot_be_read_is_told_once_and_keeps_the_last_list(static: Taken):
    static.path.write_text(json.dumps([ALICE]))
    static.poll()
    static.path.unlink()
    static.path.mkdir()
    assert static.poll() == ["is a directory"]
    assert static.poll() == []
    assert static.lists == [[ALICE]]


def test_file_that_is_too_large_is_refused_unread(static: Taken):
    static.path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert f"{MAX_FILE_BYTES} are the most" in static.poll()[0]
    assert static.lists == []


def test_many_wrong_entries_get_a_few_lines(static: Taken):
    static.path.write_text(json.dumps([f"http://{number}" for number in range(1000)]))
    assert len(static.poll()) == 10
    assert static.lists == [[]]


def test_both_files_of_a_data_directory_are_read_at_the_start(tmp_path: Path):
    (tmp_path / "static-nodes.json").write_text(json.dumps([ALICE]))
    (tmp_path / "trusted-nodes.json").write_text(json.dumps([BOB]))
    static: list[Enode] = []
    trusted: list[Enode] = []
    read_node_files(tmp_path, static.extend, trusted.extend)
    assert (static, trusted) == ([parse_enode(ALICE)], [parse_enode(BOB)])
