"""What the interop tests need: Node, npm, and the package, installed once into `.cache`; the binary of geth."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
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
def installed(node: str) -> Path:
    """The directory of the packages, where Node looks for them."""
    lock = b"".join((HERE / name).read_bytes() for name in INSTALL_FILES)
    directory = CACHE / f"interop-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not directory.exists():
        _install(directory)
    return directory


@pytest.fixture(scope="session")
def js_peer(node: str, installed: Path) -> Callable[..., JsPeer]:
    """Starts a peer that holds the real chain: `with js_peer("listen", "--eth", "62") as js`."""
    script = _beside_packages(installed, "peer.mjs")

    def start(mode: str, *options: str) -> JsPeer:
        return JsPeer([node, str(script), mode, "--chain", str(CHAIN_FILE), *options])

    return start


@pytest.fixture(scope="session")
def js_dpt(node: str, installed: Path) -> Callable[..., JsPeer]:
    """Starts a discovery node: `with js_dpt("--boot", "127.0.0.1:30303") as js`."""
    script = _beside_packages(installed, "dpt.mjs")

    def start(*options: str) -> JsPeer:
        return JsPeer([node, str(script), *options])

    return start


@pytest.fixture(scope="session")
def geth_binary() -> str:
    named = os.environ.get("GETH_BIN")
    if not named:
        pytest.skip("GETH_BIN is not set; it names the geth that these tests talk to (1.8 or 1.9, which speak eth/63)")
    found = shutil.which(named)
    if found is None:
        pytest.skip(f"GETH_BIN={named} is not a program")
    return found


@pytest.fixture
def geth_directory() -> Iterator[Path]:
    """A short name, for the path of geth's IPC socket."""
    with tempfile.TemporaryDirectory(prefix="geth-") as path:
        yield Path(path)


def _beside_packages(installed: Path, name: str) -> Path:
    """A copy of one of our scripts where it finds its packages."""
    fresh = installed / f"{os.getpid()}-{name}"
    shutil.copyfile(HERE / name, fresh)
    return fresh.replace(installed / name)


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
