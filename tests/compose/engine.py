"""A Docker engine and either generation of Compose, as commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = PROJECT / "deploy"

BASE_IMAGE: Final = "python:3.11-slim-bookworm"

LABEL: Final = "com.docker.compose"
"""What both generations of Compose name their containers' labels by."""

ANSWER_S: Final = 10.0
"""How long an engine may take to say that it is there."""

PULL_S: Final = 60.0
"""A registry that does not deliver within this is not reached, as far as the tests' time goes."""

COMMAND_S: Final = 150.0
"""Longest command but a build."""

BUILD_S: Final = 900.0
"""Longest build of an image from nothing: two minutes on a calm machine, several times that on a busy one."""


class EngineFailed(Exception):
    """A command ended with an error; the text has its last lines."""


def run(command: Sequence[str], *, within_s: float = COMMAND_S, environment: Mapping[str, str] | None = None) -> str:
    """What the command says on stdout. Raises EngineFailed."""
    try:
        ended = subprocess.run(
            command,
            cwd=DEPLOY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"{' '.join(command)}: not done within {within_s:g} s") from None
    if ended.returncode:
        last = "\n".join((ended.stdout + ended.stderr).splitlines()[-20:])
        raise EngineFailed(f"{' '.join(command)}: exit code {ended.returncode}\n{last}")
    return ended.stdout


def works(command: Sequence[str], within_s: float = ANSWER_S) -> bool:
    try:
        run(command, within_s=within_s)
    except (EngineFailed, OSError):
        return False
    return True


def find_compose() -> list[str] | None:
    """The command of Compose, the second generation first; None when there is none."""
    if works(["docker", "compose", "version"]):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def has_image(name: str) -> bool:
    """Whether the image is here, or comes from a registry in time."""
    return works(["docker", "image", "inspect", name]) or works(["docker", "pull", "--quiet", name], PULL_S)


@dataclass(frozen=True)
class Compose:
    """One project of Compose: its files, its variables, its containers."""

    command: Sequence[str]
    files: Sequence[str]
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, within_s: float = COMMAND_S) -> str:
        files = [word for file in self.files for word in ("-f", file)]
        return run([*self.command, *files, *arguments], within_s=within_s, environment=self.environment)

    # What is asked again and again is asked of Docker itself: the first generation of Compose takes a second to start.

    def containers(self, service: str) -> list[str]:
        """The newest first, whether they run or not."""
        return self._list("{{.ID}}", f"{LABEL}.service={service}")

    def services(self) -> set[str]:
        """Those that have containers."""
        return set(self._list(f'{{{{.Label "{LABEL}.service"}}}}'))

    def inspect(self, service: str, template: str) -> list[str]:
        """One fact of each container of the service, as `docker inspect` says it."""
        containers = self.containers(service)
        return run(["docker", "inspect", "-f", template, *containers]).splitlines() if containers else []

    def execute(self, container: str, *command: str) -> str:
        return run(["docker", "exec", container, *command])

    def log(self, service: str) -> str:
        """Of the first container."""
        return run(["sh", "-c", 'docker logs "$0" 2>&1', self.containers(service)[0]])

    def published(self, service: str, port: int) -> str:
        """The address on this machine of a container's port."""
        return run(["docker", "port", self.containers(service)[0], f"{port}/tcp"]).split()[0]

    def _list(self, template: str, *labels: str) -> list[str]:
        ours = (f"{LABEL}.project={self.environment['COMPOSE_PROJECT_NAME']}", f"{LABEL}.oneoff=False", *labels)
        filters = [word for label in ours for word in ("--filter", f"label={label}")]
        return run(["docker", "ps", "--all", "--format", template, *filters]).split()
