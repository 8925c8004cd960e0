"""The test run itself: tests against independent implementations are never skipped in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REQUIRE_INTEROP

pytestmark = pytest.mark.integration

SKIPPING = """
import pytest

@pytest.fixture
def node():
    pytest.skip("no Node here")

@pytest.mark.interop
def test_in_its_fixture(node): ...

@pytest.mark.interop
def test_in_its_body():
    pytest.skip("no npm here")

@pytest.mark.prometheus
def test_of_rules():
    pytest.skip("no promtool here")

def test_plain(): ...
"""

CONFIGURATION = "[pytest]\nmarkers =\n  interop: talks to npm\n  prometheus: needs promtool\n"


def run_pytest(directory: Path, test: str, require: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_inner.py").write_text(test)
    (directory / "pytest.ini").write_text(CONFIGURATION)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(directory)]
    environment = {**os.environ, REQUIRE_INTEROP: require}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_skipped_interop_tests_are_said_loudly_before_the_closing_line(tmp_path: Path):
    ended = run_pytest(tmp_path, SKIPPING, require="0")
    assert ended.returncode == 0
    for marker in ("interop", "prometheus"):
        assert f"!! {marker} tests did NOT run !!" in ended.stdout
    for reason in ("no Node here", "no npm here", "no promtool here"):
        assert f"1 skipped: {reason}" in ended.stdout
    assert "1 passed, 3 skipped" in ended.stdout.splitlines()[-1]


def test_skipped_interop_tests_fail_where_they_are_required(tmp_path: Path):
    ended = run_pytest(tmp_path, SKIPPING, require="1")
    assert ended.returncode == 1
    assert "this interop test was skipped: no npm here" in ended.stdout
    assert "this prometheus test was skipped: no promtool here" in ended.stdout
    assert "2 failed, 1 passed, 1 error" in ended.stdout.splitlines()[-1]


def test_run_without_interop_tests_fails_where_they_are_required(tmp_path: Path):
    ended = run_pytest(tmp_path, "def test_plain(): ...", require="1")
    assert ended.returncode != 0
    assert "no interop test was collected" in ended.stdout + ended.stderr
