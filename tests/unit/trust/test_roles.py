"""Every RPC has a role, and a role allows what the table says."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.shared.runtime.audit import AUDITED
from services.shared.trust.roles import ACCESS, PEOPLE, SERVICES, Role, RoleUnknown, role_of_uris

PROTOS: Final = Path(__file__).resolve().parents[3] / "protos"

CONTRACTS: Final = [
    importlib.import_module(".".join(path.relative_to(PROTOS).with_suffix("").parts) + "_pb2")
    for path in sorted(PROTOS.glob("**/*.proto"))
]

INTERNAL: Final = {
    "GatewayLinkService",
    "ChainReaderService",
    "ChainWatchService",
    "BroadcastLinkService",
    "BroadcastService",
    "LedgerService",
}

ONLY_READS: Final = ("Get", "List", "Watch", "Rank", "Stream", "Best", "Explain", "Pool")


def methods(modules: list[Any]) -> Iterator[str]:
    for module in modules:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from (f"{service.full_name}/{method.name}" for method in service.methods)


OURS: Final = sorted(methods(CONTRACTS))


def test_every_method_of_the_contracts_has_a_role_and_no_other():
    assert OURS
    assert {name for name in ACCESS if name.startswith("blocksync.")} == set(OURS)


@pytest.mark.parametrize("module", [health_pb2, reflection_pb2], ids=lambda module: module.__name__)
def test_every_method_of_grpcs_own_services_has_a_role(module: Any):
    assert set(methods([module])) <= set(ACCESS)


@pytest.mark.parametrize("name", OURS)
def test_nobody_calls_a_service_of_the_inside_but_a_service(name: str):
    access = ACCESS[name]
    is_internal = name.split("/", maxsplit=1)[0].rpartition(".")[2] in INTERNAL
    assert not access.everyone
    assert (access.least is None) is is_internal
    if is_internal:
        assert not any(access.allows(role) for role in PEOPLE)
        assert sum(access.allows(role) for role in SERVICES) == 1


@pytest.mark.parametrize("name", [name for name in OURS if ACCESS[name].least is not None])
def test_viewer_reads_and_everything_else_needs_more_and_is_audited(name: str):
    only_reads = name.split("/")[1].startswith(ONLY_READS)
    assert ACCESS[name].allows(Role.VIEWER) is only_reads
    assert (name in AUDITED) is not only_reads
    assert ACCESS[name].allows(Role.ADMIN)


def test_each_person_may_do_what_those_below_may():
    for access in ACCESS.values():
        allowed = [access.allows(role) for role in PEOPLE]
        assert allowed == sorted(allowed)


def test_gateway_and_broadcaster_order_nothing_of_the_coordinator():
    for name, access in ACCESS.items():
        if access.least is not None:
            assert not access.allows(Role.GATEWAY), name
            assert not access.allows(Role.BROADCASTER), name
            # Whoever holds its key is the coordinator.
            assert access.allows(Role.COORDINATOR), name


def test_trusted_peers_reflection_and_channelz_are_the_admins():
    for name in (
        "blocksync.v1.CoordinatorService/AddTrustedPeer",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "grpc.channelz.v1.Channelz/GetServers",
    ):
        assert [ACCESS[name].allows(role) for role in PEOPLE] == [False, False, True]


@pytest.mark.parametrize("role", Role)
def test_role_is_read_from_its_uri(role: Role):
    assert role_of_uris(("spiffe://elsewhere/x", role.uri)) is role


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        ((), "names no role"),
        (("urn:other:role:admin",), "names no role"),
        ((Role.ADMIN.uri, Role.VIEWER.uri), "names 2 roles"),
        (("urn:trisync:role:root",), "'root' is none of viewer, operator, admin"),
        (("urn:trisync:role:",), "'' is none of"),
    ],
)
def test_certificate_without_exactly_one_role_is_nobodys(uris: tuple[str, ...], why: str):
    with pytest.raises(RoleUnknown, match=why):
        role_of_uris(uris)
