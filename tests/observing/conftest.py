"""The programs of Prometheus; without them these tests are skipped, and the summary says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prometheus import Program, PrometheusMissing, find_program


@pytest.fixture(scope="session")
def prometheus_program() -> Path:
    return _found("prometheus")


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _found("promtool")


def _found(name: Program) -> Path:
    try:
        return find_program(name)
    except PrometheusMissing as missing:
        pytest.skip(str(missing))
