"""Builds the images, brings the stack with its demonstration up, and takes it down again."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.compose.engine import (
    BASE_IMAGE,
    BUILD_S,
    DEPLOY,
    PROJECT,
    Compose,
    EngineFailed,
    find_compose,
    has_image,
    run,
    works,
)

GATEWAYS: Final = 3

PROMETHEUS_STAND_IN: Final = "trisync-test-prometheus"

TAG: Final = f"compose-test-{hashlib.sha256(bytes(PROJECT)).hexdigest()[:8]}"
"""One for each checkout, so that none runs another's image; layers that are alike are shared all the same."""


@pytest.fixture(scope="session")
def compose(request: pytest.FixtureRequest) -> Iterator[Compose]:
    """The project, built and up with three gateways; Grafana too, where its image can be had."""
    if not works(["docker", "info"]):
        pytest.skip("no Docker engine can be reached")
    command = find_compose()
    if command is None:
        pytest.skip("there is no Compose: neither `docker compose` nor `docker-compose`")
    if not has_image(BASE_IMAGE):
        pytest.skip(f"no registry can be reached for the base image {BASE_IMAGE}")
    project = Compose(command, ["compose.yaml", "compose.demo.yaml"], environment())
    observers = ["prometheus"]
    if not pinned_images_are_here(project):
        say(request, "no registry is reached: Debian's Prometheus stands in, and Grafana was NOT started")
        build = ["docker", "build", "-t", PROMETHEUS_STAND_IN, "-f", "../tests/compose/prometheus.Dockerfile", "."]
        run(build, within_s=BUILD_S)
        project = Compose(command, project.files, {**project.environment, **stand_in()})
    else:
        observers.append("grafana")
    say(request, f"building and starting the stack with `{' '.join(command)}`")
    project("build", "coordinator", within_s=BUILD_S)
    try:
        services = ["source", "coordinator", "broadcaster", "peer_gateway", *observers]
        project("up", "-d", "--no-build", "--scale", f"peer_gateway={GATEWAYS}", *services)
        yield project
    finally:
        if request.session.testsfailed:
            say(request, project("logs", "--tail", "40"))
        project("down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.fixture(scope="session")
def observed(compose: Compose) -> list[str]:
    """The services that were started."""
    return sorted(compose.services())


def environment() -> dict[str, str]:
    """A project of its own, on ports that nobody has."""
    first = free_ports(GATEWAYS)
    return {
        "COMPOSE_PROJECT_NAME": f"trisynctest{os.getpid()}",
        "COMPOSE_PROFILES": "observe",
        "TRISYNC_TAG": TAG,
        "TRISYNC_P2P_PORTS": f"{first}-{first + GATEWAYS - 1}",
        # An address without a port: any free one.
        "TRISYNC_OPERATOR_PUBLISH": "127.0.0.1:",
        "TRISYNC_PROMETHEUS_PUBLISH": "127.0.0.1:",
        "TRISYNC_GRAFANA_PUBLISH": "127.0.0.1:",
    }


def stand_in() -> dict[str, str]:
    return {"TRISYNC_PROMETHEUS_IMAGE": PROMETHEUS_STAND_IN}


def pinned_images_are_here(project: Compose) -> bool:
    """Whether the images that compose.yaml pins are on this machine or can be pulled."""
    text = (DEPLOY / "compose.yaml").read_text()
    pinned = [
        line.partition(":-")[2].rstrip("}") for line in text.splitlines() if "_IMAGE:-p" in line or "_IMAGE:-g" in line
    ]
    return all(has_image(image) for image in pinned if not image.startswith("python"))


def free_ports(count: int) -> int:
    """The first of so many free TCP ports in a row."""
    for first in range(41_000, 60_000, count):
        with ExitStack() as taken:
            try:
                for port in range(first, first + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        taken.enter_context(socket.socket(socket.AF_INET, kind)).bind(("0.0.0.0", port))
            except OSError:
                continue
            return first
    raise EngineFailed("no free ports")


def say(request: pytest.FixtureRequest, line: str) -> None:
    """On the terminal at once, also where output is captured."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{line}", yellow=True)
