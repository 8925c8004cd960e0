"""The Python of the documentation does what it says: each block runs, in its order, against a node with a chain."""

from __future__ import annotations

import ast
import asyncio
import inspect
from types import CodeType
from typing import Any, Final

import pytest

from tests.support.chain_peers import dial_in
from tests.support.doc_pages import ROOT, Page
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import in_one_loop, running_stack

pytestmark = pytest.mark.integration

PAGES: Final = [Page(ROOT / "docs" / name) for name in ("client.md", "feed.md", "getting-started.md")]
ADDRESS: Final = "127.0.0.1:7450"
CHAIN: Final = peer_chain(chain_blocks(60))


async def run(code: CodeType, names: dict[str, Any]) -> None:
    """Code that awaits nothing runs in a thread, as in a script."""
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        await asyncio.to_thread(exec, code, names)


@in_one_loop
async def test_python_of_the_documentation_runs() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        for page in PAGES:
            fences = [fence for fence in page.fences if fence.language == "python"]
            assert fences, f"{page.name} shows no Python"
            names: dict[str, Any] = {}
            for fence in fences:
                assert ADDRESS in fence.content, f"{page.name}:{fence.line} asks nobody"
                source = fence.content.replace(ADDRESS, stack.coordinator_address)
                where = f"{page.name}:{fence.line}"
                await run(compile(source, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
