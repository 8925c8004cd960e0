"""How a command ends early: one line on stderr and an exit code."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2


class CommandFailed(Exception):
    """The command cannot do what it was asked to; the text is the one line the user reads."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class BadUsage(CommandFailed):
    """A flag or variable is wrong: says its value, the rule, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, BAD_USAGE)
