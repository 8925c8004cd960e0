"""How far a connection between two nodes comes, in order."""

from __future__ import annotations

import enum


class Stage(enum.IntEnum):
    """What a connection waits for. The numbers are those of the contract."""

    TRANSPORT = 1
    """The encryption handshake and Hello."""
    ADMISSION = 2
    STATUS = 3
    JOINED = 4
