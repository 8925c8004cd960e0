"""What peers are told that we are, in the form other clients use."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version


def client_name() -> str:
    return f"trisync/v{version('trisync')}/{sys.platform}/python{platform.python_version()}"
