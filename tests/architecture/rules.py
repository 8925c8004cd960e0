"""The rules of the layout, as functions from a source tree to the list of what breaks them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.architecture.imports import imports, relative_imports

IMPURE: Final = frozenset(
    {
        *("asyncio", "blocksync", "datetime", "grpc", "logging", "multiprocessing", "opentelemetry"),
        *("prometheus_client", "socket", "threading", "time"),
        *("concurrent", "os", "pathlib", "select", "selectors", "signal", "structlog", "subprocess", "uvloop"),
    }
)
"""What lets the clock, the network, the disk or another task into a core."""

SHARED_ROOMS: Final = frozenset({"ethwire", "chainspec", "rpc", "runtime", "trust"})

CORE_SHARED: Final = ("services.shared.ethwire", "services.shared.chainspec")
"""What a core may use besides itself."""

CLIENT_SHARED: Final = (
    "services.shared.chainspec",
    "services.shared.trust",
    *(f"services.shared.runtime.{name}" for name in ("config_file", "config_shown", "setting_names", "shown_times")),
)
"""What `trisync` may use of the services: it reaches them by their RPCs. One file configures them and the commands, and
both show times in the same words. It makes the certificates that they read, and both ends of a connection keep to one
rule of where plaintext is allowed."""

STORE_CONTRACT: Final = ("services.sync_coordinator.store.chain_store",)
"""What the coordinator may know of its store, so that another one can take its place."""

STORE_COMPOSITIONS: Final = frozenset({"sync_coordinator/opened_chain.py", "sync_coordinator/commands.py"})
"""Where the store is chosen, and where its files are worked on."""

BANNED_NAMES: Final = re.compile(r"(Manager|Handler|Helper|Util|Utils|Base|Impl)$|^(Data|Info|Process)$")

BANNED_FILES: Final = frozenset({"manager", "handler", "helper", "helpers", "util", "utils", "base", "impl", "info"})


def core_sources(services: Path) -> list[Path]:
    return sorted([*services.glob("*/core/**/*.py"), *(services / "shared" / "ethwire").glob("**/*.py")])


def impure_imports(source: Path) -> set[str]:
    """Imports that a core must not have."""
    return {name for name in imports(source) if name.split(".")[0] in IMPURE}


def imports_outside_core(source: Path, services: Path) -> set[str]:
    """Project modules a core reaches outside itself and the pure rooms; third-party ones are judged by `IMPURE`."""
    relative = source.relative_to(services)
    own = ".".join(["services", *relative.parts[:2]])
    allowed = (own, *CORE_SHARED)
    reached = {name for name in imports(source) if name.split(".")[0] in {"services", "trisync", "tests", "bench"}}
    return {name for name in reached if not _is_within(name, allowed)}


def foreign_imports(source: Path, services: Path) -> set[str]:
    """Imports of another service, of `trisync`, tests or bench."""
    own = source.relative_to(services).parts[0]
    allowed = ("services.shared",) if own == "shared" else (f"services.{own}", "services.shared")
    reached = {name for name in imports(source) if name.split(".")[0] in {"services", "trisync", "tests", "bench"}}
    return {name for name in reached if not _is_within(name, allowed)}


def client_imports_of_services(source: Path) -> set[str]:
    """Imports by `trisync` of more of the services than it may use."""
    return {name for name in imports(source) if name.startswith("services") and not _is_within(name, CLIENT_SHARED)}


def store_imports(source: Path, services: Path) -> set[str]:
    """Imports of what keeps the chain, beside the contract and its errors, outside the store and the compositions."""
    relative = source.relative_to(services)
    if relative.parts[:2] == ("sync_coordinator", "store") or str(relative) in STORE_COMPOSITIONS:
        return set()
    within = "services.sync_coordinator.store"
    return {
        name
        for name in imports(source)
        if _is_within(name, ("lmdb",)) or (_is_within(name, (within,)) and not _is_within(name, STORE_CONTRACT))
    }


def stray_shared_modules(services: Path) -> list[str]:
    """Whatever stands in `shared/` besides its rooms."""
    found = [path.name for path in (services / "shared").iterdir() if path.name not in {"__init__.py", "__pycache__"}]
    return sorted(name for name in found if name not in SHARED_ROOMS)


def relative_import_lines(source: Path) -> list[int]:
    return relative_imports(source)


def banned_names(source: Path) -> list[str]:
    """Names of classes, and of the file itself, that say nothing."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [name for name in names if BANNED_NAMES.search(name)] + [
        name for name in [source.stem] if name in BANNED_FILES
    ]


def unfinished_marks(source: Path) -> list[int]:
    """Lines that put work off."""
    mark = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    return [
        number
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1)
        if mark.search(line)
    ]


def _is_within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
