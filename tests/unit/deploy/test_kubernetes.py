"""The manifests in deploy/kubernetes, against Kubernetes' own schemas and against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tools.kubernetes_rules import MANIFEST, RULES, manifest_text

MANIFESTS: Final = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"

MONITOR_SCHEMA: Final = json.loads((Path(__file__).parent / "service_monitor.schema.json").read_text())
RULE_SCHEMA: Final = json.loads((Path(__file__).parent / "prometheus_rule.schema.json").read_text())

OF_THE_OPERATOR: Final = ("ServiceMonitor", "PrometheusRule")
"""Kinds that Prometheus' operator adds to Kubernetes."""

VERSIONS: Final = ("1.28", "1.33")
"""Releases of Kubernetes whose schemas must take the manifests; gRPC probes are stable from 1.27 on."""

KUSTOMIZATION: Final = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())


def documents() -> list[tuple[str, Any]]:
    found = []
    for name in KUSTOMIZATION["resources"]:
        found += [(name, document) for document in yaml.safe_load_all((MANIFESTS / name).read_text())]
    return found


DOCUMENTS: Final = documents()


def of_kind(kind: str) -> dict[str, Any]:
    return {document["metadata"]["name"]: document for _, document in DOCUMENTS if document["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "document",
    [document for _, document in DOCUMENTS if document["kind"] not in OF_THE_OPERATOR],
    ids=[f"{name}:{document['kind']}" for name, document in DOCUMENTS if document["kind"] not in OF_THE_OPERATOR],
)
def test_manifest_fits_the_schema_of_kubernetes(document: Any, version: str):
    kubernetes_validate.validate(document, version, strict=True)


def test_schema_refuses_a_misspelt_field():
    broken = json.loads(json.dumps(of_kind("StatefulSet")["coordinator"]))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_service_monitor_fits_its_schema_and_finds_every_service():
    monitor = of_kind("ServiceMonitor")["trisync"]
    jsonschema.validate(monitor, MONITOR_SCHEMA)
    (rule,) = monitor["spec"]["selector"]["matchExpressions"]
    labelled = [service["metadata"]["labels"].get(rule["key"]) for service in of_kind("Service").values()]
    assert {name for name in labelled if name} == set(rule["values"])


def test_prometheus_rule_fits_its_schema_and_is_what_prometheus_is_given_elsewhere():
    rule = of_kind("PrometheusRule")["trisync"]
    jsonschema.validate(rule, RULE_SCHEMA)
    assert MANIFEST.read_text() == manifest_text(), "run `make dashboards`"
    groups = [group for path in sorted(RULES.iterdir()) for group in yaml.safe_load(path.read_text())["groups"]]
    assert rule["spec"]["groups"] == groups


def test_kustomization_lists_every_manifest():
    assert {*KUSTOMIZATION["resources"], "kustomization.yaml"} == {path.name for path in MANIFESTS.glob("*.yaml")}


def test_probes_ask_the_port_that_the_service_listens_on():
    for name, stateful_set in of_kind("StatefulSet").items():
        (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
        values = {one["name"]: one.get("value") for one in container["env"]}
        port = int(values["TRISYNC_LISTEN"].rpartition(":")[2])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == port, name
        assert port in {one["containerPort"] for one in container["ports"]}, name
        assert of_kind("Service")[name]["spec"]["ports"][0]["port"] == port


def test_every_workload_has_its_volume_budget_and_policy():
    names = set(of_kind("StatefulSet"))
    assert names == {"coordinator", "broadcaster", "peer-gateway"}
    assert set(of_kind("PodDisruptionBudget")) == names
    assert names <= set(of_kind("NetworkPolicy"))
    for stateful_set in of_kind("StatefulSet").values():
        # A node key each, and a place for it.
        assert stateful_set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "data"


def test_every_gateway_has_a_service_for_its_peers():
    replicas = of_kind("StatefulSet")["peer-gateway"]["spec"]["replicas"]
    for index in range(replicas):
        service = of_kind("Service")[f"peer-gateway-{index}"]["spec"]
        assert service["selector"] == {"statefulset.kubernetes.io/pod-name": f"peer-gateway-{index}"}
