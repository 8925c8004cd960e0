"""Prints the pins of some packages, and of all that they need, out of the lock file: what an image installs.

python tools/pins.py LOCK (NAME… | --runtime PYPROJECT [EXTRA…])
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==")
NEEDED_BY: Final = re.compile(r"^ +#(?: via)? +(?P<name>[A-Za-z0-9._-]+)")
REQUIREMENT: Final = re.compile(r"^[A-Za-z0-9._-]+")


def main(argv: list[str]) -> int:
    if len(argv) < 2 or (argv[1] == "--runtime" and len(argv) < 3):
        print("usage: pins.py LOCK (NAME… | --runtime PYPROJECT [EXTRA…])", file=sys.stderr)
        return 2
    pins = read_pins(Path(argv[0]).read_text())
    names = runtime_names(Path(argv[2]).read_text(), argv[3:]) if argv[1] == "--runtime" else argv[1:]
    unknown = [name for name in names if canonical(name) not in pins]
    if unknown:
        print(f"pins.py: {', '.join(unknown)} not in {argv[0]}", file=sys.stderr)
        return 1
    for name in sorted(closure(pins, names)):
        print(pins[name], end="")
    return 0


def read_pins(lock: str) -> dict[str, str]:
    """Package -> its lines: version, hashes, and the comment that says what needs it."""
    pins: dict[str, str] = {}
    name = None
    for line in lock.splitlines(keepends=True):
        if found := PIN.match(line):
            name = canonical(found["name"])
            pins[name] = ""
        elif not line.startswith(" "):
            name = None
        if name is not None:
            pins[name] += line
    return pins


def runtime_names(pyproject: str, extras: list[str]) -> list[str]:
    """What the project needs when it runs with these extras, tests and tools aside."""
    project = tomllib.loads(pyproject)["project"]
    entries = [
        *project["dependencies"],
        *(entry for extra in extras for entry in project["optional-dependencies"][extra]),
    ]
    found = [REQUIREMENT.match(entry) for entry in entries]
    return [match[0] for match in found if match is not None]


def closure(pins: dict[str, str], names: list[str]) -> set[str]:
    """The packages and, as far as the lock's comments tell, everything they need."""
    wanted = {canonical(name) for name in names}
    while True:
        more = {name for name, lines in pins.items() if name not in wanted and wanted & needed_by(lines)}
        if not more:
            return wanted
        wanted |= more


def needed_by(lines: str) -> set[str]:
    return {canonical(found["name"]) for line in lines.splitlines() if (found := NEEDED_BY.match(line))}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
