"""Reasons for a service not to start, or not to go on; each becomes one line on stderr and an exit code."""

from __future__ import annotations


class StartRefused(Exception):
    """The service cannot start as things are: a port in use, a foreign store. Exit code 1."""


class ConfigInvalid(ValueError):
    """A flag or variable breaks its rule. The text names the value, the rule, and what to do. Exit code 2."""


class CannotContinue(Exception):
    """What the service works with has failed under it: its disk, its files. Exit code 1."""
