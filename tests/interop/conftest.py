"""What the npm interop tests need: Node, npm, and the package, installed once into `.cache`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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


@pytest.fixture
def start_peer(node: str, peer_script: Path) -> Iterator[Callable[..., JsPeer]]:
    """Starts peers that hold the real chain; each is ended with the test."""
    with ExitStack() as peers:

        def start(mode: str, *options: str) -> JsPeer:
            command = [node, str(peer_script), mode, "--chain", str(CHAIN_FILE), *options]
            return peers.enter_context(JsPeer(command))

        yield start


def _install(target: Path) -> None:
    """Installs what the lock names. `target` appears only when it is complete."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for name in INSTALL_FILES:
            shutil.copyfile(HERE / name, Path(scratch) / name)
        npm = shutil.which("npm") or "npm"
        try:
            ended = subprocess.run(
                [npm, "ci", "--prefer-offline"], cwd=scratch, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not install the interop packages in {INSTALL_TIMEOUT_S} s")
        if OFFLINE.search(ended.stderr):
            pytest.skip("npm cannot reach its registry, which the npm interop tests need once")
        assert ended.returncode == 0, ended.stderr
        complete = Path(scratch) / "complete"
        complete.mkdir()
        for part in (*INSTALL_FILES, "node_modules"):
            (Path(scratch) / part).rename(complete / part)
        if not target.exists():
            complete.rename(target)
