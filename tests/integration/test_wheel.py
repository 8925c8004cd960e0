"""What pip installs: the client with its types and contracts, and no more loaded than it needs."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.integration

ROOT: Final = Path(__file__).parents[2]

FOREIGN: Final = {
    *("services.broadcaster", "services.peer_gateway", "services.sync_coordinator", "services.shared.runtime"),
    *("lmdb", "ethash", "coincurve", "cramjam", "rlp", "sha3"),
    *("rich", "typer", "structlog", "prometheus_client", "uvloop"),
}
"""What a program that only asks a coordinator has no use for."""

LOOK_ROUND: Final = """
import sys
import trisync.client, blocksync.v1.coordinator_pb2
print(trisync.client.__file__, blocksync.v1.coordinator_pb2.__file__)
print(*sys.modules)
"""


def test_the_wheel_has_the_client_its_types_and_its_contracts_and_the_client_loads_nothing_else(tmp_path: Path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    contracts = [path.stem for path in (ROOT / "protos/blocksync/v1").glob("*.proto")]
    endings = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", ".proto")
    assert {f"blocksync/v1/{name}{end}" for name, end in itertools.product(contracts, endings)} <= names
    assert {"trisync/py.typed", "blocksync/py.typed", "trisync/client/__init__.py", "trisync/cli/__init__.py"} <= names
    assert {f"services/{name}/app.py" for name in ("peer_gateway", "sync_coordinator", "broadcaster")} <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]
    look = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'installed')\n{LOOK_ROUND}"]
    found = subprocess.run(look, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    assert all("installed" in Path(path).parts for path in found[0].split()), found[0]
    assert FOREIGN & set(found[1].split()) == set()
