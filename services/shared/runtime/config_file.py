"""The configuration file, in TOML: one for all services and commands.

Keys are the names of flags without their dashes in front: `log-level = "info"`. What stands in `[all]` holds for every
service and command that has such a flag; what stands in `[coordinator]`, `[broadcaster]`, `[gateway]` or `[up]` holds
there, and wins.
"""

from __future__ import annotations

import difflib
import enum
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.shared.runtime.setting_names import ALL, TABLES

CONFIG_FLAG: Final = "--config"
CONFIG_VARIABLE: Final = "TRISYNC_CONFIG"
PRINT_CONFIG_FLAG: Final = "--print-config"

CONFIG_HELP: Final = "Configuration file in TOML, see docs/configuration.md; flags and variables beat it."
PRINT_CONFIG_HELP: Final = "Print every setting and where it comes from, as a configuration file, and end."

MAX_FILE_BYTES: Final = 1024 * 1024
"""Far more than all settings and a thousand enode URLs need."""

MAX_SHOWN: Final = 60

_TABLE_LIST: Final = ", ".join(f"[{name}]" for name in TABLES if name != ALL)


class ConfigFileInvalid(ValueError):
    """The file cannot be used: names it, the key, the value and the rule."""


@dataclass(frozen=True, slots=True)
class FileValue:
    """A value as TOML has it, and where it stands, in words."""

    value: object
    place: str


class ConfigFile:
    """The settings of one file."""

    def __init__(self, path: Path, tables: Mapping[str, Mapping[str, object]]) -> None:
        self.path = path
        self._tables = tables

    def find(self, key: str, tables: Sequence[str]) -> FileValue | None:
        """The value in the first of the tables that has it."""
        for table in tables:
            if key in self._tables.get(table, {}):
                return FileValue(self._tables[table][key], f"[{table}] of {self.path}")
        return None


def read_config_file(path: Path, more_keys: frozenset[str] = frozenset()) -> ConfigFile:
    """Read a file and check its keys. Raises ConfigFileInvalid.

    `more_keys` are known besides those of services and commands.
    """
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise ConfigFileInvalid(f"{CONFIG_FLAG} {path} cannot be read: {problem.strerror or problem}") from problem
    if len(text) > MAX_FILE_BYTES:
        raise ConfigFileInvalid(f"{CONFIG_FLAG} {path} has more than {MAX_FILE_BYTES} bytes; it is no configuration")
    try:
        found = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigFileInvalid(f"{CONFIG_FLAG} {path} is not TOML: {problem}") from problem
    return ConfigFile(path, _checked(path, found, more_keys))


def _checked(path: Path, found: dict[str, Any], more_keys: frozenset[str]) -> Mapping[str, Mapping[str, object]]:
    for name, value in found.items():
        if not isinstance(value, dict):
            raise ConfigFileInvalid(
                f"{path}: the key {name!r} is in no table; put it into [{ALL}] or one of {_TABLE_LIST}"
            )
        if name not in TABLES:
            raise ConfigFileInvalid(f"{path}: there is no table [{name}]{_meant(name, TABLES)}")
        for key in value:
            if key not in TABLES[name] | more_keys:
                raise ConfigFileInvalid(f"{path}: [{name}] has no key {key!r}{_meant(key, TABLES[name] | more_keys)}")
    return found


def _meant(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-").lower(), sorted(known), n=3)
    return (
        f"; is {' or '.join(repr(word) for word in close)} meant?"
        if close
        else f"; known are {', '.join(sorted(known))}"
    )


def typed(kind: object, key: str, found: FileValue) -> object:
    """The value, if it is of this kind: a type as fields and flags have it. Raises ConfigFileInvalid.

    Texts stay texts where the kind is a path or an enumeration. An empty text is None where None is allowed.
    """
    rule = _broken_rule(kind, found.value)
    if rule is not None:
        shown = json.dumps(found.value, default=str, ensure_ascii=False)
        shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"
        raise ConfigFileInvalid(f"{key} = {shown} in {found.place} is not {rule}")
    if is_list(kind):
        return found.value if isinstance(found.value, list) else [found.value]
    return None if found.value == "" and _is_optional(kind) else found.value


def is_list(kind: object) -> bool:
    return typing.get_origin(required_kind(kind)) in (tuple, list)


def required_kind(kind: object) -> object:
    """The kind without None, where that is allowed."""
    if not _is_optional(kind):
        return kind
    return next(option for option in typing.get_args(kind) if option is not type(None))


def _is_optional(kind: object) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union) and type(None) in typing.get_args(kind)


def choices(kind: object) -> tuple[str, ...]:
    """The words that may be given, where only some may."""
    kind = required_kind(kind)
    if typing.get_origin(kind) is typing.Literal:
        return tuple(map(str, typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return tuple(member.value for member in kind)
    return ()


def _broken_rule(kind: object, value: object) -> str | None:
    """What the value is not; None when it is of the kind."""
    if value == "" and _is_optional(kind):
        return None
    kind = required_kind(kind)
    if is_list(kind):
        items = value if isinstance(value, list) else [value]
        return None if all(isinstance(item, str) for item in items) else "a text or a list of texts"
    if words := choices(kind):
        return None if value in words else f"one of {', '.join(words)}"
    allowed, meaning = _SCALARS[typing.cast("type", kind)]
    fits = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
    return None if fits else meaning


_SCALARS: Final[Mapping[type, tuple[tuple[type, ...], str]]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    Path: ((str,), "a text with a path"),
}
