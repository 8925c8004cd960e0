"""Where the node's identity comes from: a private key in a file, on the command line, or made on the spot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from coincurve import PrivateKey

from services.peer_gateway.core.ecies import generate_key
from services.shared.runtime.faults import ConfigInvalid, StartRefused

FILE_NAME: Final = "nodekey"
"""Name of the key's file in the data directory, as geth has it."""

_KEY: Final = re.compile("[0-9a-fA-F]{64}")

_DIGITS: Final = re.compile("(?:0x)?[0-9a-fA-F]+")


def load_node_key(nodekey: str | None, datadir: Path | None) -> PrivateKey:
    """The key that `--nodekey` (hex digits or a file) or the data directory names; a missing file is made."""
    if nodekey is not None and _KEY.fullmatch(nodekey):
        return _parse(nodekey, "--nodekey")
    if nodekey is not None:
        if _DIGITS.fullmatch(nodekey) and not Path(nodekey).exists():
            # A key with a digit missing would make a file of that name, and a new identity.
            raise ConfigInvalid(f"--nodekey has {len(nodekey)} hex digits: 64 are needed, or the name of a file")
        return _read_or_make(Path(nodekey))
    if datadir is not None:
        return _read_or_make(datadir / FILE_NAME)
    return generate_key(os.urandom)


def existing_node_key(nodekey: str) -> PrivateKey:
    """The key of a node that is there already, by hex digits or file: one made here would be nobody's."""
    if not _DIGITS.fullmatch(nodekey) and not Path(nodekey).exists():
        # Not shown: it may be a key with one character mistyped.
        raise ConfigInvalid("--nodekey is neither 64 hex digits nor a file that is there; give the key of a node")
    return load_node_key(nodekey, None)


def _read_or_make(path: Path) -> PrivateKey:
    try:
        return _parse(path.read_text(encoding="ascii").strip(), str(path))
    except FileNotFoundError:
        return _make(path)
    except UnicodeDecodeError:
        raise StartRefused(f"{path} is not a node key: 64 hex digits are needed") from None
    except OSError as problem:
        raise StartRefused(f"cannot read the node key {path}: {(problem.strerror or str(problem)).lower()}") from None


def _make(path: Path) -> PrivateKey:
    key = generate_key(os.urandom)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.secret.hex())
        unfinished.replace(path)
    except OSError as problem:
        raise StartRefused(f"cannot write the node key {path}: {(problem.strerror or str(problem)).lower()}") from None
    return key


def _parse(text: str, source: str) -> PrivateKey:
    if not _KEY.fullmatch(text):
        raise StartRefused(f"{source} is not a node key: 64 hex digits are needed")
    try:
        return PrivateKey(bytes.fromhex(text))
    except ValueError:
        raise ConfigInvalid(f"{source} is not a node key: the number is not below the order of secp256k1") from None
