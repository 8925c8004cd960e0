"""The alerts: words for whoever is woken, a section of the runbook, and tests of both answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from trisync.cli import app

PROJECT: Final = Path(__file__).resolve().parents[3]
PROMETHEUS: Final = PROJECT / "deploy" / "prometheus"
RUNBOOK: Final = PROJECT / "docs" / "runbook.md"

ALERTS: Final = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES: Final = {rule["alert"] for rule in ALERTS}


def sections() -> dict[str, str]:
    """Title -> text of each section of the runbook."""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(rule: Mapping[str, Any]):
    assert rule["labels"]["severity"] in ("warning", "critical")
    told = rule["annotations"]
    assert told["summary"].endswith(".")
    assert "{{" not in told["summary"]
    assert "$value" in told["description"] or "$labels" in told["description"]
    assert told["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_alert_has_its_section_and_every_section_its_alert():
    assert set(sections()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_section_says_what_it_means_where_to_look_why_it_is_and_what_to_do(name: str):
    text = sections()[name]
    for heading in ("**Means**", "**See it**", "**Causes**, likeliest first", "**Do**"):
        assert heading in text
    assert "`trisync " in text
    dashboards = re.findall(r"dashboard \*([^*]+)\*", text)
    assert dashboards
    assert set(dashboards) <= {"overview", "peers and wire", "sync", "propagation"}


def test_runbook_names_only_panels_rows_and_commands_that_are_there():
    words = " ".join(RUNBOOK.read_text().split())
    titles = {
        panel["title"]
        for path in (PROJECT / "deploy" / "grafana" / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
    }
    named = set(re.findall(r"(?<![*\w])\*([A-Z][^*]+)\*(?!\*)", words))
    assert named
    assert named <= titles
    commands = set(typer.main.get_group(app).commands)
    assert set(re.findall(r"`trisync ([a-z-]+)", words)) <= commands


def test_every_alert_is_tried_firing_and_silent():
    fires, silent = set(), set()
    for path in (PROMETHEUS / "tests").iterdir():
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                severities = {one["exp_labels"]["severity"] for one in case["exp_alerts"]}
                fires |= {(case["alertname"], severity) for severity in severities}
                silent |= set() if severities else {case["alertname"]}
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS}
    assert silent == NAMES
