"""Writes the dashboards to deploy/grafana/dashboards: `python -m tools.dashboards`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tools.dashboards.description import Dashboard
from tools.dashboards.grafana import dashboard_json
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.peers import PEERS
from tools.dashboards.propagation import PROPAGATION
from tools.dashboards.sync import SYNC

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"

DASHBOARDS: Final = (OVERVIEW, PEERS, SYNC, PROPAGATION)


LINE: Final = 120
"""Longest line of a file, where it can be kept to."""


def file_text(dashboard: Dashboard) -> str:
    return _text(dashboard_json(dashboard), indent=0) + "\n"


def _text(value: Any, indent: int) -> str:
    """JSON that people can read too: what fits into a line is one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or indent + len(line) < LINE:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, list):
        parts, (begin, end) = [_text(part, indent + 2) for part in value], "[]"
    else:
        parts = [f"{json.dumps(key)}: {_text(part, indent + 2)}" for key, part in value.items()]
        begin, end = "{}"
    return f"{begin}\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}{end}"


def main() -> None:
    for dashboard in DASHBOARDS:
        (DIRECTORY / f"{dashboard.key}.json").write_text(file_text(dashboard))


if __name__ == "__main__":
    main()
