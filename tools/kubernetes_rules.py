"""Writes deploy/kubernetes/prometheus-rule.yaml from the rules of Prometheus: `python -m tools.kubernetes_rules`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).resolve().parents[1] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "rules"
MANIFEST: Final = DEPLOY / "kubernetes" / "prometheus-rule.yaml"

HEAD: Final = """\
# Written by `make dashboards` from deploy/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: trisync
spec:
  groups:
"""


def manifest_text() -> str:
    """The rule files with their comments, one group after the other."""
    groups = [path.read_text().partition("\ngroups:\n")[2] for path in sorted(RULES.glob("*.yaml"))]
    return HEAD + "\n".join(textwrap.indent(group, "  ") for group in groups)


if __name__ == "__main__":
    MANIFEST.write_text(manifest_text())
