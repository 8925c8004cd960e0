"""What the npm interop tests need: Node, npm, and the package, installed once into `.cache`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.interop.js_peer import JsPeer
from tests.interop.real_chain import CHAIN_FILE

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[1] / ".cache"

OLDEST_NODE: Final = 20
NODE_MISSING: Final = f"Node >= {OLDEST_NODE} and npm are needed for the npm interop tests"
INSTALL_FILES: Final = ("package.json", "package-lock.json", ".npmrc")
INSTALL_TIMEOUT_S: Final = 100
"""Below the time limit of one test, which set-up counts towards."""

OFFLINE: Final = re.compile(r"EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT")


@pytest.fixture(scope="session")
def node() -> str:
    """The path of a Node that is new enough; skips where there is none, or no npm."""
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        pytest.skip(NODE_MISSING)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"{NODE_MISSING}; this Node is {version.strip()}")
    return path


@pytest.fixture(scope="session")
def peer_script(node: str) -> Path:
    """A copy of `peer.mjs` beside the installed packages, where Node looks for them."""
    lock = b"".join((HERE / name).read_bytes() for name in INSTALL_FILES)
    installed = CACHE / f"interop-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not installed.exists():
        _install(installed)
    script = installed / "peer.mjs"
    fresh = installed / f"peer-{os.getpid()}.mjs"
    shutil.copyfile(HERE / script.name, fresh)
    return fresh.replace(script)


@pytest.fixture(scope="session")
def js_peer(node: str, peer_script: Path) -> Callable[..., JsPeer]:
    """Starts a peer that holds the real chain: `with js_peer("listen", "--eth", "62") as js`."""

    def start(mode: str, *options: str) -> JsPeer:
        return JsPeer([node, str(peer_script), mode, "--chain", str(CHAIN_FILE), *options])

    return start


def _install(target: Path) -> None:
    """Installs what the lock names. `target` appears only when it is complete."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="interop-") as scratch:
        unfinished = Path(scratch) / "unfinished"
        unfinished.mkdir()
        for name in INSTALL_FILES:
            shutil.copyfile(HERE / name, unfinished / name)
        _run_npm(unfinished)
        if not target.exists():
            unfinished.rename(target)


def _run_npm(directory: Path) -> None:
    command = [shutil.which("npm") or "npm", "ci", "--prefer-offline"]
    try:
        subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the packages of the npm interop tests in {INSTALL_TIMEOUT_S} s")
    except subprocess.CalledProcessError as failed:
        if OFFLINE.search(failed.stderr):
            pytest.skip("npm cannot reach its registry; the npm interop tests need it once")
        pytest.fail(f"npm ci failed:\n{failed.stderr}", pytrace=False)
