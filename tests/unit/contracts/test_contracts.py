"""The contracts: their reference is current, all is told, and what breaks clients is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.shared.rpc.error_interceptor import BUG_REASON
from services.shared.rpc.errors import MEANING_OF
from services.sync_coordinator.core.call_limits import SHARE_OF
from tools.rpc_docs import PAGE, page, read_contracts, uncommented

ROOT = Path(__file__).parents[3]
BUF = Path(sys.executable).parent / "buf"

OPERATOR_API = (ROOT / "docs" / "operator-api.md").read_text()


def buf(protos: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *words, protos], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    copied = shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("*.py", "*.pyi"))
    return Path(copied)


def spoil(protos: Path, before: str, after: str) -> None:
    path = protos / "blocksync" / "v1" / "coordinator.proto"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_reference_is_current_and_everything_in_it_is_told():
    contracts = read_contracts()
    assert uncommented(contracts) == []
    assert PAGE.read_text() == page(contracts), "run `make rpc-docs`"


def test_contract_that_breaks_clients_is_found(protos: Path):
    against = ("breaking", "--against", str(ROOT / "protos" / "baseline.binpb"))
    assert buf(protos, *against).returncode == 0
    spoil(protos, "  uint32 peer_count = 8;\n", "")
    broken = buf(protos, *against)
    assert broken.returncode != 0
    assert 'field "8" with name "peer_count"' in broken.stdout


def test_contract_in_another_style_is_found(protos: Path):
    assert buf(protos, "lint").returncode == 0
    spoil(protos, "bool at_best_peer_head = 10;", "bool atBestPeerHead = 10;")
    assert "atBestPeerHead" in buf(protos, "lint").stdout


@pytest.mark.parametrize("reason", [BUG_REASON, *(meaning.reason for meaning in MEANING_OF.values())])
def test_operator_guide_has_every_reason(reason: str):
    assert f"`{reason}`" in OPERATOR_API


@pytest.mark.parametrize("kind", SHARE_OF)
def test_operator_guide_has_every_class_of_calls(kind):
    assert f"| {kind.value} |" in OPERATOR_API
