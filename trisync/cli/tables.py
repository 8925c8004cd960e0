"""How commands print to people."""

from __future__ import annotations

from typing import Final

from rich.console import Console, RenderableType

PIPE_WIDTH: Final = 300


def show(*parts: RenderableType) -> None:
    """Print to people: lines are folded to a terminal; in a pipe they stay whole, and end with their last letter."""
    console = Console()
    if console.is_terminal:
        for part in parts:
            console.print(part)
        return
    console = Console(width=PIPE_WIDTH)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    for line in captured.get().splitlines():
        print(line.rstrip())
