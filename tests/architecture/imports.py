"""Which modules a source file imports, read from its text without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ROOT / "services"


def imports(source: Path) -> set[str]:
    """Full names of imported modules. `from a import b` counts as `a.b`, so that importing a module so is seen."""
    return set(_names(ast.parse(source.read_text(encoding="utf-8"))))


def relative_imports(source: Path) -> list[int]:
    """Lines of imports that begin with a dot, which `imports` cannot read."""
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    return [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
