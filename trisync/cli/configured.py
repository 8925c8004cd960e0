"""Gives commands the configuration file: what no flag and no variable sets, it may set.

A flag that has a variable TRISYNC_SOME_NAME is the key `some-name` of the file.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.models import OptionInfo

from services.shared.runtime.config_file import (
    CONFIG_FLAG,
    CONFIG_HELP,
    CONFIG_VARIABLE,
    PRINT_CONFIG_FLAG,
    PRINT_CONFIG_HELP,
    ConfigFileInvalid,
    FileValue,
    read_config_file,
    typed,
)
from services.shared.runtime.config_shown import Setting, shown_config
from services.shared.runtime.setting_names import ALL, BROADCASTER, COORDINATOR, EVERY_SERVICE, GATEWAY
from trisync.cli.failures import DONE, BadUsage

VARIABLE_PREFIX: Final = "TRISYNC_"
PANEL: Final = "Configuration"

UP: Final = "up"
"""The command that has a table of its own."""

CONFIG_ARGUMENT: Final = "config_file"
"""What a command calls the file's path that wants it, to pass it on to services."""

PlainCommand = Callable[..., int | None]


@dataclass(frozen=True, slots=True)
class FlagSetting:
    """A flag that the file may set: its argument, its key, its variable, and what values it has."""

    argument: str
    key: str
    variable: str
    kind: object


def configured(name: str, command: PlainCommand) -> PlainCommand:
    """The command with the flags --config and --print-config. `name` is what it is called by."""
    own = inspect.signature(command, eval_str=True)
    settings = flag_settings(own)
    tables = {setting.argument: tables_for(name, setting.key) for setting in settings}
    found: dict[str, FileValue] = {}

    def take_file(context: typer.Context, path: Path | None) -> Path | None:
        found.clear()
        if path is None or context.resilient_parsing:
            return path
        try:
            file = read_config_file(path)
            for setting in settings:
                value = file.find(setting.key, tables[setting.argument])
                if value is not None:
                    found[setting.argument] = FileValue(typed(setting.kind, setting.key, value), value.place)
        except ConfigFileInvalid as problem:
            raise BadUsage(str(problem)) from problem
        context.default_map = {argument: value.value for argument, value in found.items()}
        return path

    @functools.wraps(command)
    def with_file(**given: Any) -> int | None:
        context: typer.Context = given.pop("context")
        config: Path | None = given.pop("config")
        if given.pop("print_config"):
            shown = [_shown(setting, context, given, found) for setting in settings]
            print(shown_config(UP if name == UP else ALL, shown), flush=True)
            return DONE
        if CONFIG_ARGUMENT in own.parameters:
            given[CONFIG_ARGUMENT] = config
        return command(**given)

    _sign(with_file, own, take_file)
    return with_file


def flag_settings(signature: inspect.Signature) -> list[FlagSetting]:
    """The flags that have variables, in their order."""
    settings = []
    for one in signature.parameters.values():
        kind, *notes = typing.get_args(one.annotation) if typing.get_origin(one.annotation) is Annotated else [None]
        variables = [note.envvar for note in notes if isinstance(note, OptionInfo) and isinstance(note.envvar, str)]
        settings += [FlagSetting(one.name, key_of(variable), variable, kind) for variable in variables]
    return settings


def key_of(variable: str) -> str:
    return variable.removeprefix(VARIABLE_PREFIX).lower().replace("_", "-")


def tables_for(command: str, key: str) -> tuple[str, ...]:
    """Where a command finds a key, the first place first.

    Commands work on the coordinator's store, or ask the coordinator; `up` starts all three services.
    """
    if key in EVERY_SERVICE | COORDINATOR:
        owner = "coordinator"
    elif command == UP and key in GATEWAY:
        owner = "gateway"
    elif command == UP and key in BROADCASTER:
        owner = "broadcaster"
    else:
        owner = ""
    return (*((UP,) if command == UP else ()), *((owner,) if owner else ()), ALL)


def _shown(
    setting: FlagSetting, context: typer.Context, given: Mapping[str, object], found: Mapping[str, FileValue]
) -> Setting:
    source = context.get_parameter_source(setting.argument)
    match source.name if source is not None else "":
        case "COMMANDLINE":
            words = f"flag --{setting.key}"
        case "ENVIRONMENT":
            words = f"variable {setting.variable}"
        case "DEFAULT_MAP":
            words = found[setting.argument].place
        case _:
            words = "default"
    return Setting(setting.key, given[setting.argument], words)


def _sign(
    command: Callable[..., object],
    own: inspect.Signature,
    take_file: Callable[[typer.Context, Path | None], Path | None],
) -> None:
    """Say to typer what the command takes."""
    config = typer.Option(
        CONFIG_FLAG,
        envvar=CONFIG_VARIABLE,
        help=CONFIG_HELP,
        metavar="FILE",
        is_eager=True,
        callback=take_file,
        rich_help_panel=PANEL,
    )
    print_config = typer.Option(PRINT_CONFIG_FLAG, help=PRINT_CONFIG_HELP, rich_help_panel=PANEL)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shown = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(one.replace(kind=keyword) for one in own.parameters.values() if one.name != CONFIG_ARGUMENT),
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, config]),
        inspect.Parameter("print_config", keyword, default=False, annotation=Annotated[bool, print_config]),
    ]
    command.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined] # what inspect reads
    command.__annotations__ = {one.name: one.annotation for one in shown}
