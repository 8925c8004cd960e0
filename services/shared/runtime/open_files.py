"""How many files and connections a service may have open."""

from __future__ import annotations

import resource
from typing import Final

WANTED: Final = 8192
"""A gateway's peers, and 512 connections for each address that gRPC listens on, are more than the usual 1,024."""


def raise_open_files() -> None:
    """Up to what the system lets this process have: a stranger who only connects must not use up the store's files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
