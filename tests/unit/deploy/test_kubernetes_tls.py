"""deploy/kubernetes-tls: what its patches make of the manifests, merged as kustomize does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.config import read_config
from services.sync_coordinator.config import CoordinatorConfig
from tests.unit.deploy.test_kubernetes import VERSIONS, of_kind

OVERLAY: Final = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes-tls"

KUSTOMIZATION: Final = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())

CONFIGS: Final[dict[str, type]] = {
    "coordinator": CoordinatorConfig,
    "broadcaster": BroadcasterConfig,
    "peer-gateway": GatewayConfig,
}

MERGE_KEYS: Final = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
"""By what Kubernetes tells the entries of these lists apart."""


def merged(base: Any, patch: Any, field: str = "") -> Any:
    """A strategic merge: null removes, lists of named things are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        found = {**base, **{name: merged(base.get(name), value, name) for name, value in patch.items()}}
        return {name: value for name, value in found.items() if value is not None}
    if isinstance(base, list) and field in MERGE_KEYS:
        key = MERGE_KEYS[field]
        changes = {entry[key]: entry for entry in patch}
        kept = [merged(entry, changes.pop(entry[key], {})) for entry in base]
        return kept + list(changes.values())
    return patch


def patched(name: str) -> Any:
    patch = yaml.safe_load((OVERLAY / f"{name}.yaml").read_text())
    return merged(of_kind("StatefulSet")[patch["metadata"]["name"]], patch)


def container(name: str) -> Any:
    (found,) = patched(name)["spec"]["template"]["spec"]["containers"]
    return found


def test_every_service_is_patched_and_nothing_else():
    assert KUSTOMIZATION["resources"] == ["../kubernetes"]
    assert [entry["path"] for entry in KUSTOMIZATION["patches"]] == [f"{name}.yaml" for name in CONFIGS]
    assert {path.stem for path in OVERLAY.glob("*.yaml")} == {*CONFIGS, "kustomization"}
    assert set(of_kind("StatefulSet")) == set(CONFIGS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONFIGS)
def test_patched_manifest_fits_the_schema_of_kubernetes(name: str, version: str):
    kubernetes_validate.validate(patched(name), version, strict=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_service_has_its_own_certificate_and_no_plaintext(name: str):
    settings = of_kind("ConfigMap")["settings"]["data"]
    own = {entry["name"]: entry["value"] for entry in container(name)["env"] if "value" in entry}
    config: Any = read_config(CONFIGS[name], [], {**settings, **own})
    assert (config.insecure, str(config.tls_cert)) == (False, "/tls/tls.crt")
    volumes = patched(name)["spec"]["template"]["spec"]["volumes"]
    assert {"name": "tls", "secret": {"secretName": f"{name}-tls", "defaultMode": 0o440}} in volumes
    assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container(name)["volumeMounts"]


@pytest.mark.parametrize("name", CONFIGS)
def test_probe_shows_the_service_a_certificate(name: str):
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        found = container(name)[probe]
        assert found["exec"]["command"] == ["python3", "-m", "trisync.health"]
        assert "grpc" not in found
        assert (
            found["periodSeconds"]
            == of_kind("StatefulSet")[name]["spec"]["template"]["spec"]["containers"][0][probe]["periodSeconds"]
        )
