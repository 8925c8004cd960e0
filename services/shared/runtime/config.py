"""Reads a service's configuration: a frozen dataclass whose fields are flags, environment variables and keys of a file.

Field `log_level` is flag `--log-level`, variable `TRISYNC_LOG_LEVEL` and key `log-level` of the file that `--config` or
TRISYNC_CONFIG names; they win in this order. The string after a field is its help. A tuple field is a repeatable flag,
comma-separated in the environment, and a list in the file. A class says by `TABLE` which table of the file is its own.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import os
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from services.shared.runtime.config_file import (
    CONFIG_FLAG,
    CONFIG_HELP,
    CONFIG_VARIABLE,
    PRINT_CONFIG_FLAG,
    PRINT_CONFIG_HELP,
    ConfigFile,
    ConfigFileInvalid,
    read_config_file,
    required_kind,
    typed,
)
from services.shared.runtime.config_shown import Setting, shown_config
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.setting_names import ALL

T = TypeVar("T")

TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS: Final = frozenset({"0", "false", "no", "off", ""})

DEFAULT_SOURCE: Final = "default"


def read_config(config_class: type[T], argv: Sequence[str], environ: Mapping[str, str] | None = None) -> T:
    """Build the dataclass from flags, variables, the file, its defaults; raise ConfigInvalid when it breaks a rule.

    With --print-config it is printed, and SystemExit raised with code 0, as --help does.
    """
    environ = os.environ if environ is None else environ
    flags = vars(_parser(config_class).parse_args(list(argv)))
    try:
        values, sources = _collect(config_class, flags, environ)
    except ConfigFileInvalid as problem:
        raise ConfigInvalid(str(problem)) from problem
    try:
        config = config_class(**values)
    except ValueError as problem:
        raise ConfigInvalid(_with_sources(str(problem), sources)) from problem
    if flags["print_config"]:
        _show(shown_config(_table(config_class), _settings(config, sources)))
        raise SystemExit(0)
    return config


def _show(text: str) -> None:
    """Print for a reader who may have seen enough and gone, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is still buffered is written when the process ends: it must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _collect(
    config_class: type, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that are given, and in words where each comes from."""
    file = _file(config_class, flags, environ)
    types_of = typing.get_type_hints(config_class)
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for field in _fields(config_class):
        name, kind = field.name, types_of[field.name]
        key, variable = flag_name(name).removeprefix("--"), environ.get(variable_name(name))
        found = file.find(key, (_table(config_class), ALL)) if file is not None else None
        if flags[name] is not None:
            values[name], sources[name] = _read(kind, flags[name], flag_name(name)), f"flag {flag_name(name)}"
        elif variable is not None:
            words = variable.split(",") if _is_tuple(kind) else [variable]
            words = [word.strip() for word in words if word.strip() or not _is_tuple(kind)]
            values[name] = _read(kind, words, variable_name(name))
            sources[name] = f"variable {variable_name(name)}"
        elif found is not None:
            values[name], sources[name] = _from_file(kind, typed(kind, key, found)), found.place
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            file_too = f", or {key} in a {CONFIG_FLAG} file" if _table(config_class) else ""
            raise ConfigInvalid(f"{flag_name(name)} is needed (or {variable_name(name)}{file_too})")
    return values, sources


def _file(config_class: type, flags: Mapping[str, Any], environ: Mapping[str, str]) -> ConfigFile | None:
    path = flags["config"] if flags["config"] is not None else environ.get(CONFIG_VARIABLE)
    if not path:
        return None
    own = frozenset(flag_name(field.name).removeprefix("--") for field in _fields(config_class))
    return read_config_file(Path(path), own)


def _from_file(kind: object, value: Any) -> object:
    """What TOML has, as the field has it; `typed` has checked it."""
    if isinstance(value, list):
        return tuple(value)
    plain = required_kind(kind)
    return plain(value) if value is not None and plain in (Path, float) else value


def _with_sources(problem: str, sources: Mapping[str, str]) -> str:
    """Rules name flags: say of those that are set elsewhere where."""
    named = set(re.findall(r"--[a-z0-9-]+", problem))
    elsewhere = {name: source for name, source in sources.items() if flag_name(name) in named and " of " in source}
    notes = [f"{flag_name(name)} is from {source}" for name, source in elsewhere.items()]
    return f"{problem} ({'; '.join(notes)})" if notes else problem


def _settings(config: object, sources: Mapping[str, str]) -> list[Setting]:
    fields = dataclasses.fields(config)  # type: ignore[arg-type] # every configuration is a dataclass
    return [
        Setting(flag_name(one.name)[2:], getattr(config, one.name), sources.get(one.name, DEFAULT_SOURCE))
        for one in fields
    ]


def _table(config_class: type) -> str:
    return str(getattr(config_class, "TABLE", ""))


def flag_name(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def variable_name(field_name: str) -> str:
    return "TRISYNC_" + field_name.upper()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigInvalid(f"{message}; see --help")


def _parser(config_class: type) -> argparse.ArgumentParser:
    package = config_class.__module__.rpartition(".")[0]
    parser = _Parser(prog=f"python -m {package}", description=(config_class.__doc__ or "").strip(), allow_abbrev=False)
    helps = field_docstrings(config_class)
    types_of = typing.get_type_hints(config_class)
    for field in _fields(config_class):
        text = f"{helps.get(field.name, '')} [{variable_name(field.name)}{_shown_default(field)}]".strip()
        text = text.replace("%", "%%")
        # Every value is kept as the list of words given, so that flags and variables are read by the same code.
        if types_of[field.name] is bool:
            parser.add_argument(
                flag_name(field.name), dest=field.name, nargs="?", const=["true"], type=_one_word, help=text
            )
        elif _is_tuple(types_of[field.name]):
            parser.add_argument(flag_name(field.name), dest=field.name, action="append", metavar="VALUE", help=text)
        else:
            parser.add_argument(flag_name(field.name), dest=field.name, type=_one_word, metavar="VALUE", help=text)
    parser.add_argument(CONFIG_FLAG, metavar="FILE", help=f"{CONFIG_HELP} [{CONFIG_VARIABLE}]")
    parser.add_argument(PRINT_CONFIG_FLAG, action="store_true", help=PRINT_CONFIG_HELP)
    return parser


def field_docstrings(config_class: type) -> dict[str, str]:
    """The string literals that stand right after fields, in this class and its parents."""
    found: dict[str, str] = {}
    for owner in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError):
            continue
        body = typing.cast("ast.ClassDef", tree.body[0]).body
        for before, after in itertools.pairwise(body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _fields(config_class: type) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(config_class)


def _shown_default(field: dataclasses.Field[object]) -> str:
    """Only numbers and words: of what is empty, a list or a switch, the text of the field says what it means."""
    is_plain = isinstance(field.default, int | float | str) and not isinstance(field.default, bool)
    return f"; default {field.default}" if is_plain and field.default != "" else ""


def _one_word(word: str) -> list[str]:
    return [word]


def _is_tuple(kind: object) -> bool:
    return typing.get_origin(kind) is tuple


def _read(kind: object, words: list[str], source: str) -> object:
    if _is_tuple(kind):
        item = typing.get_args(kind)[0]
        return tuple(_read_word(item, word, source) for word in words)
    return _read_word(kind, words[-1], source)


def _read_word(kind: object, word: str, source: str) -> object:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if word == "" else _read_word(options[0], word, source)
    if typing.get_origin(kind) is typing.Literal:
        if word not in typing.get_args(kind):
            raise ConfigInvalid(f"{source} {word!r} is not one of {', '.join(typing.get_args(kind))}")
        return word
    if kind is bool:
        if word.lower() not in TRUE_WORDS | FALSE_WORDS:
            raise ConfigInvalid(f"{source} {word!r} is not true or false")
        return word.lower() in TRUE_WORDS
    convert, meaning = _SCALARS[typing.cast("type", kind)]
    try:
        return convert(word)
    except ValueError:
        raise ConfigInvalid(f"{source} {word!r} is not {meaning}") from None


_SCALARS: Final[Mapping[type, tuple[Callable[[str], object], str]]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
    Path: (Path, "a path"),
}
