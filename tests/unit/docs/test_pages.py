"""The documentation holds together: links, anchors, tables, and the commands that it tells to run."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.config_file import CONFIG_FLAG, PRINT_CONFIG_FLAG
from services.sync_coordinator.config import CoordinatorConfig
from tests.support.doc_pages import ROOT, Page, all_pages
from trisync.cli import app

PAGES: Final = all_pages()

SERVICES: Final[Mapping[str, Any]] = {
    "coordinator": CoordinatorConfig,
    "broadcaster": BroadcasterConfig,
    "gateway": GatewayConfig,
}
"""Commands whose flags are the settings of a service."""

FLAGS_OF_OTHERS: Final = {"--nat", "--profile", "--scale"}
"""Docker's, and geth's."""

MODULES: Final = ("services", "trisync", "bench", "tests")


def flags_of_commands() -> dict[str, set[str]]:
    group: Any = typer.main.get_command(app)
    found = {
        name: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }
    for name, config in SERVICES.items():
        found[name] = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(config)}
        found[name] |= {CONFIG_FLAG, PRINT_CONFIG_FLAG}
    return {name: {*flags, "--help"} for name, flags in found.items()}


FLAGS: Final = flags_of_commands()

TARGETS: Final = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def wrong_in(words: Sequence[str]) -> Iterator[str]:
    """What a reader who types this would be told does not exist."""
    for at, word in enumerate(words[:-1]):
        following = words[at + 1]
        if word == "trisync" and re.fullmatch(r"[a-z][a-z-]+", following):
            if following not in FLAGS:
                yield f"trisync has no command {following}"
                continue
            typed = {re.split(r"[=\]]", each.lstrip("["))[0] for each in words[at + 2 :]}
            unknown = {each for each in typed if each.startswith("--")} - FLAGS[following]
            yield from (f"trisync {following} has no flag {flag}" for flag in sorted(unknown))
        if word == "-m" and following.split(".")[0] in MODULES and importlib.util.find_spec(following) is None:
            yield f"there is no module {following}"
    if len(words) > 1 and words[0] == "make" and re.fullmatch(r"[a-z-]+", words[1]) and words[1] not in TARGETS:
        yield f"make has no target {words[1]}"


def by_name(page: Page) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_page_renders_and_its_links_lead_somewhere(page: Page):
    assert page.problems() == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_of_a_page_exist_with_their_flags(page: Page):
    assert [f"{page.name}:{line}: {wrong}" for line, words in page.commands() for wrong in wrong_in(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_flags_that_running_text_names_are_flags_of_some_command(page: Page):
    flags = set().union(*FLAGS.values(), FLAGS_OF_OTHERS)
    if page.path.parent == ROOT / "docs":
        assert [f"{page.name}:{line}: {flag}" for line, flag in page.bare_flags() if flag not in flags] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_python_of_a_page_compiles(page: Page):
    for fence in page.fences:
        if fence.language == "python":
            compile(fence.content, f"{page.name}:{fence.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_page_of_the_documentation_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "examples" / "README.md"]
    assert [str(page.relative_to(ROOT)) for page in pages if f"({page.relative_to(ROOT)})" not in readme] == []


PLANTED: Final = {
    "[text](nowhere.md)": "nowhere.md leads nowhere",
    "[text](../../etc/passwd)": "leads nowhere",
    "[text](#no-such-heading)": "has no heading there",
    "[text](other.md#no-such-heading)": "has no heading there; the page has other",
    "# Twice\n\n# Twice\n\n[text](#twice)": "#twice could mean several headings",
    "| a | b |\n|---|---|\n| 1 | 2 | 3 |": "3 cells in a table of 2 columns",
    "| a | b |\n|---|\n| 1 | 2 |": "a table that does not render",
    "```\nopen": "a code block that does not end",
    "[text][nothing]": "a reference link without its target",
    "One<br>two": "HTML",
}


@pytest.mark.parametrize("content", PLANTED)
def test_what_is_broken_in_a_page_is_found(content: str, tmp_path: Path):
    (tmp_path / "other.md").write_text("# Other\n")
    (tmp_path / "page.md").write_text(content + "\n")
    [problem] = Page(tmp_path / "page.md", tmp_path).problems()
    assert PLANTED[content] in problem


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("```\n$ trisync fly --datadir D\n```", ["trisync has no command fly"]),
        ("```\ntrisync up \\\n    --no-such 7 --datadir D [--until head]\n```", ["trisync up has no flag --no-such"]),
        (
            "```\ncat b | trisync submit-block - --nope | jq .number\n```",
            ["trisync submit-block has no flag --nope"],
        ),
        ("Run `trisync status --nope`.", ["trisync status has no flag --nope"]),
        ("```\ntrisync gateway --no-such 1 --coordinator A\n```", ["trisync gateway has no flag --no-such"]),
        (
            "`make nothing`, `python -m bench.nothing`",
            ["make has no target nothing", "there is no module bench.nothing"],
        ),
        ("```\ntrisync status --json  # and so on\ndocker build -t trisync .\n```", []),
        ("```python\nprint('trisync fly')\n```", []),
    ],
)
def test_what_does_not_exist_is_found_in_a_page(content: str, wrong: Sequence[str], tmp_path: Path):
    (tmp_path / "page.md").write_text(content + "\n")
    found = [each for _, words in Page(tmp_path / "page.md", tmp_path).commands() for each in wrong_in(words)]
    assert found == wrong


def test_a_flag_without_its_command_is_found_in_a_page(tmp_path: Path):
    (tmp_path / "page.md").write_text("# Page\n\nWith `--no-such 7`, `--json` or `no --flag`.\n")
    assert list(Page(tmp_path / "page.md", tmp_path).bare_flags()) == [(3, "--no-such"), (3, "--json")]
