"""Settings as a configuration file that says where each comes from."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.shared.runtime.config_file import PRINT_CONFIG_FLAG

SECRET_KEYS: Final = frozenset({"nodekey", "doctor-nodekey"})
WIDEST_ALIGNED: Final = 44
"""Longer lines do not push the sources of the others to the right."""

KEY_DIGITS: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line: `value` None is not set, `source` says in words where it comes from."""

    key: str
    value: object
    source: str


def shown_config(table: str, settings: Iterable[Setting]) -> str:
    """A table in TOML, to print or to keep: read again, it gives the same settings."""
    parts = [(_value(setting), setting.source) for setting in settings]
    width = min(WIDEST_ALIGNED, max((len(value) for value, _ in parts), default=0))
    lines = [f"# {PRINT_CONFIG_FLAG}: what holds, and where it comes from.", f"[{table}]"]
    return "\n".join([*lines, *(f"{value.ljust(width)}  # {source}" for value, source in parts)])


def _value(setting: Setting) -> str:
    if setting.key in SECRET_KEYS and KEY_DIGITS.fullmatch(str(setting.value)):
        return f"# {setting.key} is set, and not shown"
    if setting.value is None:
        return f"# {setting.key} is not set"
    return f"{setting.key} = {toml_value(setting.value)}"


def toml_value(value: object) -> str:
    """A value of a setting in TOML's own writing."""
    match value:
        case bool():
            return "true" if value else "false"
        case enum.Enum():
            return toml_value(value.value)
        case int():
            return str(value)
        case float():
            # TOML wants a digit on both sides of the point, and knows inf and nan.
            return repr(value) if math.isfinite(value) else str(value)
        case str() | Path():
            # JSON writes a text as TOML's basic strings do, but for DEL and what is beyond the basic plane.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
        case tuple() | list():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case _:
            raise TypeError(f"{type(value).__name__} is no kind of setting")
