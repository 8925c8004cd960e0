"""The stack of compose.yaml: it syncs, is watched, survives kills, and stops in time. In this order, on one stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from bench.call_flood import CallFlood, flooding
from tests.compose.conftest import GATEWAYS, TAG
from tests.compose.engine import BASE_IMAGE, Compose, EngineFailed, run
from tests.support.deadlines import until
from tests.support.observed_queries import all_rules, panel_questions, unanswered
from tests.support.prometheus import Prometheus
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.node_status import NodeStatus

pytestmark = [pytest.mark.compose, pytest.mark.timeout(400, func_only=True)]

OURS: Final = ("coordinator", "broadcaster", "peer_gateway")

HEAD: Final = 8191
"""The last block that comes with the project."""

HEALTHY_S: Final = 120.0
SYNC_S: Final = 240.0
"""Some twenty seconds on two processors that have nothing else to do; its seals take thirty of processor time."""

STOP_S: Final = 10.0

FLOOD_CALLS_PER_SECOND: Final = 500
FLOOD_S: Final = 30.0

STATUS_INSIDE: Final = ("trisync", "status", "--json")

IMAGE_LIMIT_MB: Final = 150

COMPILERS: Final = ("cc", "gcc", "c++", "g++", "clang", "as", "ld", "make", "cmake")

CRASH: Final = """
import contextlib, os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(name), signal.SIGKILL)
"""
"""Ends every process of a container except its init, which then ends too, and takes what is left with it."""


def eventually(read: Callable[[], Any], what: str, within_s: float) -> Any:
    """The first true value; a command that fails meanwhile is none."""

    async def wait() -> Any:
        return await until(attempt, what, within_s=within_s)

    async def attempt() -> Any:
        try:
            found = await asyncio.to_thread(read)
        except (EngineFailed, CoordinatorError, OSError):
            found = None
        if not found:
            await asyncio.sleep(0.5)
        return found

    return asyncio.run(wait())


def status(compose: Compose) -> NodeStatus:
    async def ask() -> NodeStatus:
        async with AsyncCoordinator(compose.published("coordinator", 7450)) as client:
            return await client.status()

    return asyncio.run(ask())


def is_synced(compose: Compose) -> NodeStatus | None:
    found = status(compose)
    whole = len(found.gateways) == GATEWAYS and found.peer_count == 1 and found.at_best_peer_head
    return found if whole and found.full_block_head.number == HEAD else None


def all_healthy(compose: Compose, *services: str) -> bool:
    states = [state for service in services for state in compose.inspect(service, "{{.State.Health.Status}}")]
    return bool(states) and set(states) == {"healthy"}


def targets(compose: Compose) -> Counter[tuple[str, str]]:
    """How many targets of Prometheus there are of each job and health."""
    url = f"http://{compose.published('prometheus', 9090)}/api/v1/targets?state=active"
    with urllib.request.urlopen(url, timeout=5) as answer:
        found = json.load(answer)["data"]["activeTargets"]
    return Counter((target["labels"]["job"], target["health"]) for target in found)


def node_ids(compose: Compose) -> set[str]:
    return {gateway.enode.partition("@")[0] for gateway in status(compose).gateways}


def test_every_service_becomes_healthy(compose: Compose, observed: list[str]):
    assert {*OURS, "source", "prometheus"} <= set(observed)
    eventually(lambda: all_healthy(compose, *observed), "every container healthy", HEALTHY_S)
    assert len(compose.containers("peer_gateway")) == GATEWAYS


def test_stack_syncs_to_the_head_of_the_source(compose: Compose):
    found = eventually(lambda: is_synced(compose), f"block {HEAD} at the operator API", SYNC_S)
    assert found.seal_check == "ethash"
    assert {gateway.gateway_id for gateway in found.gateways} == {f"gateway-{index}" for index in range(GATEWAYS)}
    assert len(node_ids(compose)) == GATEWAYS


def test_every_target_of_prometheus_is_up(compose: Compose):
    expected = {("coordinator", "up"): 1, ("broadcaster", "up"): 1, ("peer_gateway", "up"): GATEWAYS}
    expected[("prometheus", "up")] = 1
    eventually(lambda: targets(compose) == Counter(expected), f"{expected} as targets", HEALTHY_S)


def test_every_query_of_the_dashboards_has_an_answer_and_the_rules_are_loaded(compose: Compose):
    prometheus = Prometheus(compose.published("prometheus", 9090))
    eventually(lambda: prometheus.query("count(up == 1) > 3"), "samples of every service", HEALTHY_S)
    open_questions = dict.fromkeys(panel_questions(), "not asked")
    deadline = time.monotonic() + HEALTHY_S
    while open_questions and time.monotonic() < deadline:
        time.sleep(1)
        open_questions = unanswered(prometheus.query, open_questions, idle=True)
    assert not open_questions, "\n".join(f"{one.where}: {problem}" for one, problem in open_questions.items())
    loaded = prometheus.get("rules")["groups"]
    assert {rule["name"] for group in loaded for rule in group["rules"]} == {
        rule.get("alert") or rule["record"] for rule in all_rules()
    }
    assert {rule["health"] for group in loaded for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.parametrize("service", OURS)
def test_service_has_no_rights_that_it_does_not_need(compose: Compose, service: str):
    container = compose.containers(service)[0]
    with pytest.raises(EngineFailed, match="Read-only file system"):
        compose.execute(container, "touch", "/opt/trisync/x")
    rights = (
        "import os; print(os.getuid(), [l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')])"
    )
    assert compose.execute(container, "python3", "-c", rights).split() == ["1000", "['0000000000000000']"]


def test_only_what_outsiders_need_is_published(compose: Compose):
    assert compose.inspect("broadcaster", "{{len .NetworkSettings.Networks}} {{json .HostConfig.PortBindings}}") == [
        "1 {}"
    ]
    bindings = [json.loads(one) for one in compose.inspect("peer_gateway", "{{json .HostConfig.PortBindings}}")]
    assert {port for one in bindings for port in one} == {"30303/tcp", "30303/udp"}
    assert compose.published("coordinator", 7450).startswith("127.0.0.1:")


def test_client_that_floods_the_published_port_is_led_past_grpc_and_nobody_else_is(compose: Compose):
    container = compose.containers("coordinator")[0]

    async def flood() -> CallFlood:
        async with flooding(compose.published("coordinator", 7450), FLOOD_CALLS_PER_SECOND) as offered:
            await until(is_diverted, "a diverted client", within_s=FLOOD_S)
            # Another address than the port's, so it is answered.
            said = await asyncio.to_thread(compose.execute, container, *STATUS_INSIDE)
            assert json.loads(said)["full_block_head"]["number"] == HEAD
        return offered

    async def is_diverted() -> bool:
        await asyncio.sleep(0.2)
        return "client diverted" in await asyncio.to_thread(compose.log, "coordinator")

    codes = asyncio.run(flood()).codes
    assert codes["RESOURCE_EXHAUSTED"] > codes["OK"], codes
    assert codes.keys() <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    eventually(lambda: "client diverted no more" in compose.log("coordinator"), "the client let back", FLOOD_S)
    # No filter without a right that the container lacks, and no connection that the filter gave to the wrong one.
    assert "clients are not diverted" not in compose.log("coordinator")
    eventually(lambda: is_synced(compose), "the stack as it was", HEALTHY_S)
    assert all_healthy(compose, *OURS)


def test_image_is_small_and_has_no_compiler_and_an_optimised_ethash(compose: Compose):
    image = f"trisync:{TAG}"
    size, base = (int(run(["docker", "image", "inspect", "-f", "{{.Size}}", name])) for name in (image, BASE_IMAGE))
    assert (size - base) / 1e6 < IMAGE_LIMIT_MB
    tools = f"for tool in {' '.join(COMPILERS)}; do command -v $tool; done"
    script = f"{tools}; cat /opt/trisync/lib/*/site-packages/ethash-*/WHEEL"
    said = run(["docker", "run", "--rm", "--entrypoint", "sh", image, "-c", script])
    assert not [line for line in said.splitlines() if line.startswith("/")]
    # A wheel from the package index would be one for any Linux.
    assert "linux_" in said
    assert "manylinux" not in said


@pytest.mark.parametrize("service", OURS)
def test_crashed_service_is_started_again_and_the_stack_recovers(compose: Compose, service: str):
    container = compose.containers(service)[0]
    before = compose.inspect(service, "{{.State.StartedAt}}")[0]
    with contextlib.suppress(EngineFailed):
        # It may itself be taken along.
        compose.execute(container, "python3", "-c", CRASH)
    eventually(lambda: compose.inspect(service, "{{.State.StartedAt}}")[0] != before, "a new start", HEALTHY_S)
    eventually(lambda: all_healthy(compose, *OURS, "source"), "every container healthy", HEALTHY_S)
    eventually(lambda: is_synced(compose), "the stack as it was", HEALTHY_S)


@pytest.mark.parametrize("service", ["coordinator", "broadcaster", "peer_gateway", "prometheus"])
def test_killed_container_recovers_when_it_is_started_again(compose: Compose, service: str):
    containers = compose.containers(service)
    run(["docker", "kill", *containers])
    run(["docker", "start", *containers])
    eventually(lambda: all_healthy(compose, service), "healthy", HEALTHY_S)
    eventually(lambda: is_synced(compose), "the stack as it was", HEALTHY_S)
    expected = Counter({"coordinator": 1, "broadcaster": 1, "peer_gateway": GATEWAYS, "prometheus": 1})
    up = Counter({(job, "up"): count for job, count in expected.items()})
    eventually(lambda: targets(compose) == up, f"{up} as targets", HEALTHY_S)


def test_services_stop_in_time_and_new_containers_are_the_same_nodes(compose: Compose):
    before = node_ids(compose)
    started = time.monotonic()
    compose("stop", *OURS)
    assert time.monotonic() - started < STOP_S
    for service in OURS:
        assert set(compose.inspect(service, "{{.State.ExitCode}}")) == {"0"}, service
    source = compose.containers("source")[0]
    listed = compose.execute(source, "trisync", "disconnects", "--coordinator", "127.0.0.1:7450", "--json")
    last = json.loads(listed)["disconnects"][0]
    assert (last["side"], last["reason"]) == ("them", "client_quitting")
    compose("rm", "--force", *OURS)
    compose("up", "-d", "--no-build", "--scale", f"peer_gateway={GATEWAYS}", *OURS)
    eventually(lambda: is_synced(compose), "the stack as it was", HEALTHY_S)
    assert node_ids(compose) == before
