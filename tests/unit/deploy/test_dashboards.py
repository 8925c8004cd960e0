"""The dashboards: as described, as Grafana reads them, and as people do."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.dashboard_shape import problems
from tools.dashboards.__main__ import DASHBOARDS, DIRECTORY, file_text

FILES: Final = sorted(DIRECTORY.glob("*.json"))

WHOLE: Final[dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}


def test_files_are_as_described():
    assert {path.name for path in FILES} == {f"{one.key}.json" for one in DASHBOARDS}
    for one in DASHBOARDS:
        assert (DIRECTORY / f"{one.key}.json").read_text() == file_text(one), "run `make dashboards`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dashboard_has_what_grafana_and_a_reader_need(path: Path):
    assert not list(problems(WHOLE[path.stem]))


def test_uids_are_their_own_and_links_lead_to_one_of_them():
    uids = [dashboard["uid"] for dashboard in WHOLE.values()]
    assert len(set(uids)) == len(uids) == 4
    linked = set(re.findall(r'"/d/([^?]+)\?', "".join(path.read_text() for path in FILES)))
    assert linked == {"trisync-peers", "trisync-sync", "trisync-propagation"}
    for dashboard in WHOLE.values():
        (link,) = dashboard["links"]
        assert set(link["tags"]) <= set(dashboard["tags"])


def panel_of(dashboard: dict[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = [panel for panel in dashboard["panels"] if panel["type"] != "row"][index]
    return found


PLANTED: Final[dict[str, tuple[Callable[[dict[str, Any]], Any], str]]] = {
    "no description": (lambda one: panel_of(one, 0).pop("description"), "no description"),
    "no unit": (lambda one: panel_of(one, 3)["fieldConfig"]["defaults"].pop("unit"), "no unit"),
    "same id": (lambda one: panel_of(one, 1).update(id=panel_of(one, 2)["id"]), "2 times"),
    "overlap": (lambda one: panel_of(one, 1)["gridPos"].update(x=0), "over "),
    "too wide": (lambda one: panel_of(one, 1)["gridPos"].update(w=25), "outside of 24 columns"),
    "no query": (lambda one: panel_of(one, 1).update(targets=[]), "no query"),
    "no expression": (lambda one: panel_of(one, 1)["targets"][0].update(expr=""), "without expression"),
    "fixed window": (lambda one: panel_of(one, 1)["targets"][0].update(expr="rate(up[5m])"), "fixed window 5m"),
    "datasource": (lambda one: panel_of(one, 1).update(datasource={"uid": "mine"}), "another datasource"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(name: str):
    plant, told = PLANTED[name]
    dashboard = copy.deepcopy(WHOLE["overview"])
    plant(dashboard)
    assert any(told in problem for problem in problems(dashboard))
