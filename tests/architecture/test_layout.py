"""The layout and import rules of the project hold."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.architecture import rules
from tests.architecture.imports import ROOT, SERVICES

CLIENT: Final = ROOT / "trisync"
PROJECT_SOURCES: Final = sorted([*SERVICES.glob("**/*.py"), *CLIENT.glob("**/*.py")])


def name_of(source: Path) -> str:
    return str(source.relative_to(ROOT))


@pytest.mark.parametrize("source", rules.core_sources(SERVICES), ids=name_of)
def test_core_is_pure(source: Path):
    assert rules.impure_imports(source) == set()


@pytest.mark.parametrize("source", rules.core_sources(SERVICES), ids=name_of)
def test_core_reaches_only_itself_and_the_pure_rooms(source: Path):
    assert rules.imports_outside_core(source, SERVICES) == set()


@pytest.mark.parametrize("source", sorted(SERVICES.glob("*/**/*.py")), ids=name_of)
def test_service_imports_only_itself_and_shared(source: Path):
    assert rules.foreign_imports(source, SERVICES) == set()


@pytest.mark.parametrize("source", sorted(CLIENT.glob("**/*.py")), ids=name_of)
def test_client_reaches_services_by_their_rpcs_only(source: Path):
    assert rules.client_imports_of_services(source) == set()


@pytest.mark.parametrize("source", sorted((SERVICES / "sync_coordinator").glob("**/*.py")), ids=name_of)
def test_coordinator_knows_its_store_by_the_contract_only(source: Path):
    assert rules.store_imports(source, SERVICES) == set()


def test_shared_has_five_rooms_and_no_modules_of_its_own():
    assert rules.stray_shared_modules(SERVICES) == []


@pytest.mark.parametrize("source", PROJECT_SOURCES, ids=name_of)
def test_module_keeps_to_the_style(source: Path):
    assert rules.relative_import_lines(source) == []
    assert rules.banned_names(source) == []
    assert rules.unfinished_marks(source) == []


def test_every_service_has_the_parts_of_the_layout():
    for service in ("peer_gateway", "sync_coordinator", "broadcaster"):
        for part in ("__init__.py", "__main__.py", "app.py", "config.py", "metrics.py", "core", "edges"):
            assert (SERVICES / service / part).exists(), f"services/{service}/{part} is missing"
