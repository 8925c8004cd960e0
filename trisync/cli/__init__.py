"""The `trisync` command: one module per group of commands.

Errors end a command with one line on stderr and exit code 1 (it failed) or 2 (bad usage).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence

# Before gRPC is loaded, which would write about failed handshakes beside our one line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import typer.main
from rich.markup import escape
from typer.core import TyperGroup
from typer.exceptions import TyperException

from trisync.cli.command_list import COMMANDS, Listed
from trisync.cli.configured import configured
from trisync.cli.failures import BAD_USAGE, FAILED, CommandFailed
from trisync.cli.service_commands import PASSED_ON

app = typer.Typer(
    name="trisync",
    help="Ethereum's block-synchronisation protocol manager as three services.",
    epilog="`trisync COMMAND --help` has the flags of a command. Exit codes: 0 done, 1 failed, 2 bad usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(listed: Listed) -> None:
    command = configured(listed.name, listed.command) if listed.is_configured else listed.command
    examples = "\n\n".join(["Examples:", *(f"  {escape(example)}" for example in listed.examples)])
    app.command(
        listed.name,
        context_settings=PASSED_ON if listed.reads_own_flags else None,
        add_help_option=not listed.reads_own_flags,
        epilog=examples if listed.examples else None,
        rich_help_panel=listed.group,
    )(command)


for one in COMMANDS:
    _add(one)


@functools.cache
def command_group() -> TyperGroup:
    """All commands, built once."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    try:
        code = command_group().main(args=argv, prog_name="trisync", standalone_mode=False)
    except CommandFailed as failure:
        return _fail(str(failure), failure.exit_code)
    except TyperException as problem:
        return _fail(usage_text(problem), problem.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", FAILED)
    return code if isinstance(code, int) else 0


def usage_text(problem: TyperException) -> str:
    """What is wrong with the words of the command line: names the value, and leaves out the reader's own words."""
    text = problem.format_message().replace(": Value error, ", ": ")
    if ": Input should" not in text:
        return text
    list_errors: Callable[[], list[dict[str, object]]] = getattr(problem.__cause__, "errors", list)
    values = [error["input"] for error in list_errors() if "input" in error]
    return text.replace(": Input should", f": {values[0]!r} should") if values else text


def _fail(message: str, code: int) -> int:
    """Without a message the help text was shown: there is nothing to add. Neither is there to a question."""
    hint = "; see --help" if code == BAD_USAGE and "--help" not in message and message[-1:] != "?" else ""
    if message:
        print(f"trisync: {message.rstrip('.')}{hint}", file=sys.stderr, flush=True)
    return code
