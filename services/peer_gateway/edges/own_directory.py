"""A directory that several gateways share: each takes one below it for itself, by a lock that ends with its process."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.faults import StartRefused

MOST_GATEWAYS: Final = 64
"""Directories that are tried; as many gateways as one node may have."""

LOCK_NAME: Final = "gateway.lock"


@contextmanager
def own_directory(config: GatewayConfig) -> Iterator[GatewayConfig]:
    """The configuration with a data directory of this gateway's own, held until the end. Raises StartRefused.

    Without `--shared-datadir` that is the configuration as it is. With it the first directory `gateway-N` that no
    living gateway holds is taken, with the node key in it: so gateways that are started anew are the same nodes.
    """
    if not config.shared_datadir or config.datadir is None:
        yield config
        return
    directory, lock = _take_first(config.datadir)
    try:
        yield dataclasses.replace(
            config, datadir=directory, shared_datadir=False, gateway_id=config.gateway_id or directory.name
        )
    finally:
        os.close(lock)


def _take_first(shared: Path) -> tuple[Path, int]:
    for index in range(MOST_GATEWAYS):
        directory = shared / f"gateway-{index}"
        lock = _lock(directory)
        if lock is not None:
            return directory, lock
    raise StartRefused(f"all of gateway-0 to gateway-{MOST_GATEWAYS - 1} in {shared} are in use by other gateways")


def _lock(directory: Path) -> int | None:
    """The descriptor that holds the lock; None when another gateway has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not inherited by root workers, which may outlive a gateway that was killed.
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        raise StartRefused(f"cannot use {directory}: {(problem.strerror or str(problem)).lower()}") from problem
    try:
        # Held by this open file, not by the process: two gateways of one process exclude each other too.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as problem:
        os.close(descriptor)
        raise StartRefused(f"cannot lock {directory}: {(problem.strerror or str(problem)).lower()}") from problem
    return descriptor
