"""Every rule finds a violation that is planted for it, and lets the allowed neighbour pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import rules


@pytest.fixture
def services(tmp_path: Path) -> Path:
    for package in ("shared/ethwire", "shared/runtime", "broadcaster/core", "broadcaster/edges", "peer_gateway/core"):
        (tmp_path / "services" / package).mkdir(parents=True)
    return tmp_path / "services"


def plant(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio",
        "import time as t",
        "from socket import socket",
        "import os.path",
        "from blocksync.v1 import common_pb2",
        "def late():\n    import logging",
        "if True:\n    from datetime import UTC",
    ],
)
@pytest.mark.parametrize("place", ["broadcaster/core", "shared/ethwire"])
def test_impure_import_is_found_in_a_core(services: Path, place: str, text: str):
    source = plant(services / place / "fan_out.py", text)
    assert source in rules.core_sources(services)
    assert rules.impure_imports(source) != set()


def test_pure_import_passes_in_a_core(services: Path):
    text = "import random\nfrom collections import deque\nfrom services.shared.ethwire.types import PeerId"
    source = plant(services / "broadcaster/core/fan_out.py", text)
    assert rules.impure_imports(source) == set()
    assert rules.imports_outside_core(source, services) == set()


@pytest.mark.parametrize(
    "text",
    [
        "from services.broadcaster.edges import links",
        "from services.shared.runtime.logs import get_log",
        "from services.peer_gateway.core import devp2p",
        "import services.shared.rpc.outbox",
    ],
)
def test_import_of_an_edge_is_found_in_a_core(services: Path, text: str):
    source = plant(services / "broadcaster/core/fan_out.py", text)
    assert rules.imports_outside_core(source, services) != set()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("broadcaster/edges", "from services.peer_gateway.core import devp2p"),
        ("broadcaster/edges", "import services.sync_coordinator.store"),
        ("broadcaster/edges", "from services import peer_gateway"),
        ("broadcaster/edges", "from trisync.client import AsyncCoordinator"),
        ("shared/runtime", "from services.broadcaster.config import BroadcasterConfig"),
        ("broadcaster/edges", "from tests.support.vectors import load_vectors"),
    ],
)
def test_import_of_a_foreign_service_is_found(services: Path, place: str, text: str):
    assert rules.foreign_imports(plant(services / place / "links.py", text), services) != set()


def test_import_of_own_and_shared_modules_passes(services: Path):
    text = "from services.broadcaster.core.fan_out import k\nfrom services.shared.rpc.outbox import Outbox"
    assert rules.foreign_imports(plant(services / "broadcaster/edges/links.py", text), services) == set()


@pytest.mark.parametrize("module", ["services.broadcaster.app", "services.shared.rpc.channel", "services"])
def test_client_that_imports_a_service_is_found(tmp_path: Path, module: str):
    assert rules.client_imports_of_services(plant(tmp_path / "client.py", f"import {module}")) == {module}


def test_client_that_imports_the_chainspec_passes(tmp_path: Path):
    source = plant(tmp_path / "client.py", "from services.shared.chainspec.enode import parse_enode")
    assert rules.client_imports_of_services(source) == set()


def test_module_at_the_root_of_shared_is_found(services: Path):
    plant(services / "shared/__init__.py", "")
    assert rules.stray_shared_modules(services) == []
    plant(services / "shared/common.py", "")
    (services / "shared/tools").mkdir()
    assert rules.stray_shared_modules(services) == ["common.py", "tools"]


def test_relative_import_is_found(tmp_path: Path):
    assert rules.relative_import_lines(plant(tmp_path / "links.py", "import os\nfrom . import fan_out")) == [2]


@pytest.mark.parametrize("name", ["PeerManager", "MessageHandler", "ConfigHelper", "StoreImpl", "ServiceBase", "Data"])
def test_name_that_says_nothing_is_found(tmp_path: Path, name: str):
    assert rules.banned_names(plant(tmp_path / "peers.py", f"class {name}: ...")) == [name]
    assert rules.banned_names(plant(tmp_path / "utils.py", "")) == ["utils"]


def test_work_put_off_is_found(tmp_path: Path):
    assert rules.unfinished_marks(plant(tmp_path / "a.py", "x = 1\n# TO" + "DO: later\n")) == [2]


def test_import_of_lmdb_or_of_the_store_behind_the_contract_is_found(services: Path):
    for folder in ("edges", "store"):
        (services / "sync_coordinator" / folder).mkdir(parents=True)
    text = "import lmdb\nfrom services.sync_coordinator.store.lmdb_store import LmdbChainStore"
    source = plant(services / "sync_coordinator/edges/block_import.py", text)
    assert {name.split(".")[0] for name in rules.store_imports(source, services)} == {"lmdb", "services"}
    plant(source, "from services.sync_coordinator.store.chain_store import ChainStore")
    assert rules.store_imports(source, services) == set()
    for allowed in ("store/lmdb_store.py", "opened_chain.py"):
        assert rules.store_imports(plant(services / "sync_coordinator" / allowed, text), services) == set()
