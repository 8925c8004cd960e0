"""The file that says a service is up, and where: `<run_dir>/<service>.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast


def ready_path(run_dir: Path, service: str) -> Path:
    return run_dir / f"{service}.json"


def write_ready(run_dir: Path, service: str, **facts: object) -> Path:
    """Write pid and facts in one step, so that a reader sees all of it or nothing."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = ready_path(run_dir, service)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps({"service": service, "pid": os.getpid(), **facts}) + "\n")
    unfinished.replace(path)
    return path


def read_ready(run_dir: Path, service: str) -> Mapping[str, object] | None:
    """What the service wrote, or None while it is not up. A file left by a killed service is still there."""
    try:
        return cast("Mapping[str, object]", json.loads(ready_path(run_dir, service).read_text()))
    except FileNotFoundError:
        return None


def remove_ready(run_dir: Path, service: str) -> None:
    ready_path(run_dir, service).unlink(missing_ok=True)
