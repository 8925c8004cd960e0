from __future__ import annotations

import os
from pathlib import Path

from services.shared.runtime.ready_file import read_ready, remove_ready, write_ready


def test_ready_file_tells_pid_and_facts_once_written(tmp_path: Path):
    assert read_ready(tmp_path, "coordinator") is None
    write_ready(tmp_path / "run", "coordinator", grpc=["unix:/x"])
    expected = {"service": "coordinator", "pid": os.getpid(), "grpc": ["unix:/x"]}
    assert read_ready(tmp_path / "run", "coordinator") == expected


def test_later_facts_replace_the_earlier_ones_and_leave_no_other_file(tmp_path: Path):
    write_ready(tmp_path, "coordinator", grpc=["a"])
    path = write_ready(tmp_path, "coordinator", grpc=["b"])
    found = read_ready(tmp_path, "coordinator")
    assert found is not None
    assert found["grpc"] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_removing_works_whether_the_file_is_there_or_not(tmp_path: Path):
    write_ready(tmp_path, "coordinator")
    remove_ready(tmp_path, "coordinator")
    remove_ready(tmp_path, "coordinator")
    assert read_ready(tmp_path, "coordinator") is None
