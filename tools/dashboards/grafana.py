"""What Grafana 11 reads, made from a description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tools.dashboards.description import Dashboard, Kind, Panel, Query

SCHEMA_VERSION: Final = 39
"""Of Grafana 11."""

COLUMNS: Final = 24

HEIGHTS: Final[dict[Kind, int]] = {"timeseries": 8, "stat": 4, "state-timeline": 5, "bargauge": 8}

TAG: Final = "trisync"

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


def dashboard_json(dashboard: Dashboard) -> Json:
    """The whole file."""
    return {
        "uid": uid(dashboard.key),
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_links()],
        "templating": {"list": [_datasource_variable()]},
        "annotations": {"list": [_alert_annotations()]},
        "panels": list(_panels(dashboard)),
    }


def uid(key: str) -> str:
    return f"trisync-{key}"


def _links() -> Json:
    """At the top of each dashboard, to all of ours."""
    return {
        "type": "dashboards",
        "title": "trisync",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _datasource_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "current": {},
    }


def _alert_annotations() -> Json:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Trisync.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "step": "60s",
    }


def _panels(dashboard: Dashboard) -> Iterator[Json]:
    panel_id, top = 1, 0
    for row in dashboard.rows:
        yield {
            "id": panel_id,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        panel_id, top = panel_id + 1, top + 1
        for line in _lines(row.panels):
            left, height = 0, max(HEIGHTS[panel.kind] for panel in line)
            for panel in line:
                yield _panel(panel, panel_id, {"x": left, "y": top, "w": panel.width, "h": height})
                panel_id, left = panel_id + 1, left + panel.width
            top += height


def _lines(panels: Sequence[Panel]) -> Iterator[list[Panel]]:
    """As many panels in a line as fit."""
    line: list[Panel] = []
    for panel in panels:
        if sum(one.width for one in line) + panel.width > COLUMNS:
            yield line
            line = []
        line.append(panel)
    yield line


def _panel(panel: Panel, panel_id: int, position: Json) -> Json:
    shown: Json = {
        "id": panel_id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": position,
        "datasource": DATASOURCE,
        "targets": [_target(query, index, panel.kind) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field_defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }
    if panel.more:
        shown["links"] = [
            {
                "title": "More about this",
                "url": f"/d/{uid(panel.more)}?${{__url_time_range}}&${{datasource:queryparam}}",
            }
        ]
    return shown


def _target(query: Query, index: int, kind: Kind) -> Json:
    is_instant = kind in ("stat", "bargauge")
    return {
        "refId": chr(ord("A") + index),
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": is_instant,
        "range": not is_instant,
    }


def _field_defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": panel.below_first, "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.thresholds]
    defaults: Json = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel),
    }
    if panel.kind == "timeseries":
        defaults["custom"] = _drawing(panel)
    elif panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0}
    return defaults


def _drawing(panel: Panel) -> Json:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
    }


def _mappings(panel: Panel) -> list[Json]:
    if not panel.states:
        return []
    options = {
        value: {"text": text, "color": color, "index": index} for index, (value, text, color) in enumerate(panel.states)
    }
    return [{"type": "value", "options": options}]


def _overrides(panel: Panel) -> list[Json]:
    return [
        {
            "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + index)},
            "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.stacking", "value": {"mode": "none", "group": "limit"}},
            ],
        }
        for index, query in enumerate(panel.queries)
        if query.dashed
    ]


def _options(panel: Panel) -> Json:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": reduce,
                "colorMode": "background",
                "graphMode": "none",
                "textMode": _text_mode(panel),
            }
        case "bargauge":
            return {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic"}
        case "state-timeline":
            return {"mergeValues": True, "showValue": "never", "rowHeight": 0.9, "legend": {"showLegend": False}}
        case "timeseries":
            return {"legend": _legend(panel), "tooltip": {"mode": "multi", "sort": "desc"}}


def _text_mode(panel: Panel) -> str:
    if panel.states:
        return "name"
    return "value_and_name" if len(panel.queries) > 1 or "{{" in panel.queries[0].legend else "value"


def _legend(panel: Panel) -> Json:
    """A table with the busiest series first, so that those that stay at zero are out of the way."""
    return {
        "showLegend": True,
        "displayMode": "table",
        "placement": "right" if panel.width >= COLUMNS // 2 else "bottom",
        "calcs": ["lastNotNull", "max"],
        "sortBy": "Max",
        "sortDesc": True,
    }
