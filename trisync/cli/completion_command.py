"""`trisync completion`: what a shell needs to complete our commands, printed and not installed."""

from __future__ import annotations

import enum
from typing import Annotated, Final

import typer
from typer import completion as typer_completion

from trisync.cli.failures import DONE

PROGRAM: Final = "trisync"
VARIABLE: Final = "_TRISYNC_COMPLETE"
"""The shell sets it when it asks the program for completions."""


class Shell(enum.StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell that is to complete.")],
) -> int:
    """Print a script that makes a shell complete commands, flags and values."""
    print(typer_completion.get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))  # type: ignore[attr-defined]
    return DONE
