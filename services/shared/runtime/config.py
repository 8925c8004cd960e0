"""Reads a service's configuration: a frozen dataclass whose fields are flags and environment variables.

Field `log_level` is flag `--log-level` and variable `TRISYNC_LOG_LEVEL`; the flag wins. The string after
a field is its help. A tuple field is a repeatable flag, and comma-separated in the environment.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import os
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from services.shared.runtime.faults import ConfigInvalid

T = TypeVar("T")

TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS: Final = frozenset({"0", "false", "no", "off", ""})


def read_config(config_class: type[T], argv: Sequence[str], environ: Mapping[str, str] | None = None) -> T:
    """Build the dataclass from flags, then variables, then its defaults; raise ConfigInvalid when it breaks a rule."""
    environ = os.environ if environ is None else environ
    parser = _parser(config_class)
    flags = vars(parser.parse_args(list(argv)))
    types_of = typing.get_type_hints(config_class)
    values: dict[str, object] = {}
    for field in _fields(config_class):
        variable = environ.get(variable_name(field.name))
        if flags[field.name] is not None:
            values[field.name] = _read(types_of[field.name], flags[field.name], flag_name(field.name))
        elif variable is not None:
            words = variable.split(",") if _is_tuple(types_of[field.name]) else [variable]
            words = [word.strip() for word in words if word.strip() or not _is_tuple(types_of[field.name])]
            values[field.name] = _read(types_of[field.name], words, variable_name(field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigInvalid(f"{flag_name(field.name)} is needed (or {variable_name(field.name)})")
    try:
        return config_class(**values)
    except ConfigInvalid:
        raise
    except ValueError as problem:
        raise ConfigInvalid(str(problem)) from problem


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
