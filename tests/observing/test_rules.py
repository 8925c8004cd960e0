"""Rules and configuration of Prometheus, checked and tried by its own promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.prometheus import CONFIG

pytestmark = pytest.mark.prometheus

TESTS: Final = sorted((CONFIG.parent / "tests").iterdir())


def run(*command: str | Path) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def test_configuration_and_all_its_rule_files_are_valid(promtool: Path):
    said = run(promtool, "check", "config", CONFIG)
    for rules in (CONFIG.parent / "rules").iterdir():
        assert f"Checking {rules}" in said


def test_alerts_fire_when_they_must_and_not_when_they_must_not(promtool: Path):
    run(promtool, "test", "rules", *TESTS)
