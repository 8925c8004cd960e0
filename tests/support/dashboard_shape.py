"""What Grafana 11 needs of a dashboard, and what a reader needs: no panel without words, no number without a unit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

COLUMNS: Final = 24

KINDS: Final = ("row", "timeseries", "stat", "state-timeline", "bargauge")

OWN: Final = {"type": "prometheus", "uid": "${datasource}"}

RANGE: Final = re.compile(r"\[([^\]]*)\]")

Json = Mapping[str, Any]


def problems(dashboard: Json) -> Iterator[str]:
    """What is wrong with it, a line for each."""
    panels = dashboard["panels"]
    for name in ("title", "description", "uid"):
        if not dashboard.get(name):
            yield f"no {name}"
    if dashboard["schemaVersion"] != 39:
        yield "not the schema of Grafana 11"
    if [one["name"] for one in dashboard["templating"]["list"] if one["type"] == "datasource"] != ["datasource"]:
        yield "no datasource to choose"
    if panels[0]["type"] != "row":
        yield "a panel above all rows"
    for panel_id, count in Counter(panel["id"] for panel in panels).items():
        if count > 1:
            yield f"panel id {panel_id} {count} times"
    yield from _overlaps(panels)
    for panel in panels:
        yield from (f"{panel['title']!r}: {problem}" for problem in _panel_problems(panel))


def _overlaps(panels: list[Json]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] < 0 or at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']!r}: outside of {COLUMNS} columns"
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            other = taken.setdefault(place, panel["title"])
            if other != panel["title"]:
                yield f"{panel['title']!r}: over {other!r}"
                return


def _panel_problems(panel: Json) -> Iterator[str]:
    if panel["type"] not in KINDS:
        yield f"the unknown kind {panel['type']}"
    if panel["type"] == "row":
        return
    if not panel.get("description"):
        yield "no description"
    if panel["datasource"] != OWN:
        yield "another datasource than the chosen one"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    if steps[0] is not None or steps[1:] != sorted(steps[1:]):
        yield f"thresholds out of order: {steps}"
    targets = panel["targets"]
    if not targets or len({target.get("refId") for target in targets}) < len(targets):
        yield "no query, or two of one refId"
    for target in targets:
        if not target.get("expr") or not target.get("refId") or not target.get("legendFormat"):
            yield "a query without expression, refId or legend"
        for window in RANGE.findall(target.get("expr", "")):
            if window not in ("$__rate_interval", "$__range"):
                yield f"the fixed window {window}, which hides or invents changes at other zooms"
