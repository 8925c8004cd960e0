"""A real Prometheus with its promtool: found, or taken out of Debian's package, and run beside a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from tests.support.deadlines import until

PROJECT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = PROJECT / ".cache"
CONFIG: Final = PROJECT / "deploy" / "prometheus" / "prometheus.yml"

Series = Mapping[str, Any]
"""`metric`, its labels, and `value`, a time and a number as text."""

Program = Literal["prometheus", "promtool"]

NAMED_BY: Final[Mapping[Program, str]] = {"prometheus": "PROMETHEUS_BIN", "promtool": "PROMTOOL"}
"""Variables that name a program, before PATH is searched."""

DOWNLOAD_S: Final = 80
"""For the package, or the lists that say where it is; below the time limit of one test."""

ANSWER_S: Final = 10.0


class PrometheusMissing(Exception):
    """It is not here and cannot be had; the text says why."""


def find_program(name: Program) -> Path:
    """Raises PrometheusMissing."""
    named = os.environ.get(NAMED_BY[name])
    found = shutil.which(named or name)
    if found:
        return Path(found)
    if named:
        raise PrometheusMissing(f"{NAMED_BY[name]}={named} is not a program")
    directory = CACHE / "prometheus"
    if not directory.exists():
        _unpack_package(directory)
    return directory / name


def _unpack_package(target: Path) -> None:
    """Both programs of Debian's package; nothing is installed or started. `target` appears only when it is complete."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PrometheusMissing("there is no prometheus on PATH, and no apt-get to get Debian's")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="prometheus-") as scratch:
        package = _download_package(Path(scratch))
        _run(["dpkg-deb", "--extract", str(package), "whole"], Path(scratch))
        if not target.exists():
            target.mkdir()
            for name in NAMED_BY:
                (Path(scratch) / "whole" / "usr" / "bin" / name).rename(target / name)


def _download_package(directory: Path) -> Path:
    """With the machine's package lists, or where those are missing with lists of our own."""
    own = ["-o", f"Dir::State={directory}/state", "-o", f"Dir::Cache={directory}/cache"]
    try:
        _run(["apt-get", "download", "prometheus"], directory)
    except subprocess.SubprocessError:
        try:
            (directory / "state" / "lists" / "partial").mkdir(parents=True)
            (directory / "cache" / "archives" / "partial").mkdir(parents=True)
            _run(["apt-get", *own, "update"], directory)
            _run(["apt-get", *own, "download", "prometheus"], directory)
        except subprocess.SubprocessError as failed:
            raise PrometheusMissing("there is no prometheus on PATH, and apt-get cannot get Debian's") from failed
    return next(directory.glob("prometheus_*.deb"))


def _run(command: Sequence[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=DOWNLOAD_S)


@dataclass(frozen=True)
class Prometheus:
    """The API of a running one."""

    address: str

    def query(self, expr: str) -> list[Series]:
        """What an instant query gives. Raises QueryFailed."""
        found: list[Series] = self.get("query", query=expr)["result"]
        return found

    def get(self, what: str, **arguments: str) -> Any:
        """Raises QueryFailed with Prometheus' own words."""
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise QueryFailed(refused.read().decode()) from None

    async def is_ready(self) -> bool:
        try:
            return bool(await asyncio.to_thread(self.get, "status/runtimeinfo"))
        except (OSError, QueryFailed):
            return False


class QueryFailed(Exception):
    """Prometheus refused a query."""


@contextlib.asynccontextmanager
async def running_prometheus(program: Path, targets: Mapping[str, Sequence[str]]) -> AsyncIterator[Prometheus]:
    """The project's configuration and rules, scraping these addresses of each job several times a second."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as scratch:
        address = f"127.0.0.1:{_free_port()}"
        config = Path(scratch) / "prometheus.yml"
        config.write_text(yaml.safe_dump(adapted_config({**targets, "prometheus": [address]})))
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--config.file={config}",
            f"--storage.tsdb.path={scratch}/data",
            f"--web.listen-address={address}",
            "--log.level=error",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            prometheus = Prometheus(address)
            await until(prometheus.is_ready, "Prometheus ready")
            yield prometheus
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def adapted_config(targets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """`deploy/prometheus/prometheus.yml` for targets on loopback, and a test's short life."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["global"] |= {"scrape_interval": "300ms", "scrape_timeout": "300ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    return config


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
