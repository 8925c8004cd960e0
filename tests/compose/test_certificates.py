"""The stack with compose.tls.yaml: certificates that the image made, healthy services, and who is let in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.compose.conftest import TAG, free_ports
from tests.compose.engine import Compose, EngineFailed, run
from tests.compose.test_stack import HEALTHY_S, OURS, all_healthy, eventually
from tests.support.certificates import credentials_of
from trisync.certificates import USUAL_SET
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.credentials import Credentials

pytestmark = [pytest.mark.compose, pytest.mark.timeout(400, func_only=True)]

IMAGE: Final = f"trisync:{TAG}"

FILES: Final = ("compose.yaml", "compose.tls.yaml")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory of the containers' user."""
    directory = tmp_path_factory.mktemp("certs")
    run(["docker", "run", "--rm", "--user", "0", "--entrypoint", "chown", "-v", f"{directory}:/c", IMAGE, "1000", "/c"])
    return directory


@pytest.fixture(scope="module")
def stack(compose: Compose, certificates: Path) -> Iterator[Compose]:
    """A second project beside the one in plaintext, of the image that was built for that."""
    environment = {
        **compose.environment,
        "COMPOSE_PROJECT_NAME": f"trisynctls{os.getpid()}",
        "COMPOSE_PROFILES": "",
        "TRISYNC_P2P_PORTS": str(free_ports(1)),
        "TRISYNC_NODISCOVER": "true",
        "TRISYNC_CERTS": str(certificates),
    }
    project = Compose(compose.command, FILES, environment)
    try:
        project("run", "--rm", "certs")
        project("up", "-d", "--no-build", *OURS)
        eventually(lambda: all_healthy(project, *OURS), "every container healthy", HEALTHY_S)
        yield project
    finally:
        project("down", "--volumes", "--remove-orphans", "--timeout", "5")


def test_image_makes_a_set_and_overwrites_none(stack: Compose, certificates: Path):
    assert {path.name for path in certificates.iterdir()} == {"ca.crt", "ca.key", *(one.name for one in USUAL_SET)}
    with pytest.raises(EngineFailed, match=r"ca\.crt is there already"):
        stack("run", "--rm", "certs")


def test_gateway_attaches_and_the_coordinators_own_certificate_asks(stack: Compose):
    coordinator = stack.containers("coordinator")[0]

    def gateways() -> list[object]:
        said = stack.execute(coordinator, "trisync", "status", "--json")
        found: list[object] = json.loads(said)["gateways"]
        return found

    assert len(eventually(gateways, "a gateway in the status", HEALTHY_S)) == 1


def test_operator_is_let_in_by_certificate_and_nobody_without(stack: Compose, certificates: Path):
    address = stack.published("coordinator", 7450)

    async def ask(credentials: Credentials) -> int:
        async with AsyncCoordinator(address, credentials) as client:
            return len((await client.status()).gateways)

    assert asyncio.run(ask(credentials_of(certificates, "viewer"))) == 1
    with pytest.raises(CoordinatorError, match="as a TLS port does on plaintext"):
        asyncio.run(ask(Credentials()))


def test_renewed_certificates_are_taken_without_a_restart(stack: Compose, certificates: Path):
    started = {name: stack.inspect(name, "{{.State.StartedAt}}") for name in OURS}
    stack("run", "--rm", "certs", "/certs", "--renew")

    def told() -> bool:
        return all("certificate files read again" in stack.log(name) for name in OURS)

    eventually(told, "a line of every service", HEALTHY_S)
    assert all_healthy(stack, *OURS)
    assert {name: stack.inspect(name, "{{.State.StartedAt}}") for name in OURS} == started
