"""How a text is repeated that a peer chose."""

from __future__ import annotations


def shown(text: str, characters: int) -> str:
    """What a stranger wrote, short, and without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text[:characters])
