"""Says loudly when tests against independent implementations did not run; a failure where they are required."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import pytest

# Before gRPC is loaded: tests start processes beside running services, and its handlers of a fork may abort those.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
# Before the services are loaded, and for those that tests start: an undeclared label value is an error.
os.environ["TRISYNC_STRICT_METRICS"] = "1"

REQUIRE_INTEROP: Final = "TRISYNC_REQUIRE_INTEROP"
"""Set to 1, as `.ci/run` does, a skipped test of REQUIRED_MARKERS fails, and so does a run without any interop test."""

REQUIRED_MARKERS: Final = ("interop", "prometheus")

OUTSIDE_MARKERS: Final = (*REQUIRED_MARKERS, "real_peer", "compose")

SKIPPED_KEY: Final = pytest.StashKey[dict[str, dict[str, int]]]()
"""Marker -> reason -> number of tests skipped for it."""


def interop_is_required() -> bool:
    return os.environ.get(REQUIRE_INTEROP) == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED_KEY] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    if interop_is_required() and not any(item.get_closest_marker("interop") for item in session.items):
        raise pytest.UsageError(f"{REQUIRE_INTEROP}=1, but no interop test was collected")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = skip_reason(report)
        for marker in OUTSIDE_MARKERS:
            if item.get_closest_marker(marker):
                reasons = item.config.stash[SKIPPED_KEY].setdefault(marker, {})
                reasons[reason] = reasons.get(reason, 0) + 1
        required = [marker for marker in REQUIRED_MARKERS if item.get_closest_marker(marker)]
        if required and interop_is_required():
            report.outcome = "failed"
            report.longrepr = f"{REQUIRE_INTEROP}=1 and this {required[0]} test was skipped: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker, reasons in config.stash[SKIPPED_KEY].items():
        terminalreporter.section(f"{marker} tests did NOT run", sep="!", red=True, bold=True)
        for reason, count in reasons.items():
            terminalreporter.write_line(f"{count} skipped: {reason}", red=True)


def skip_reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
