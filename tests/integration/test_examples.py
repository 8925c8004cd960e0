"""The examples, as processes of their own, against a node whose chain changes its branch."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import rlp

from services.shared.ethwire.hashing import keccak256
from tests.support.chain_peers import dial_in
from tests.support.deadlines import DEADLINE_S, until
from tests.support.scripted_chain import ScriptedChain
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack

pytestmark = pytest.mark.integration

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
CHAIN = peer_chain(chain_blocks(60))
OTHER = peer_chain(chain_blocks(70, fork_at=50))


class Example:
    """A running example, and the lines it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        async for line in stream:
            self.lines.append(line.decode().rstrip("\n"))

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*self._reading)
            return await self.process.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.ended()


@contextlib.asynccontextmanager
async def running(name: str, *arguments: object) -> AsyncIterator[Example]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    example = Example(process)
    try:
        yield example
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await example.ended()


def at(stack: Stack) -> tuple[str, str]:
    return ("--coordinator", stack.coordinator_address)


def indexed(database: Path, chain: ScriptedChain) -> bool:
    """Whether the index has exactly this chain: hashes, difficulties, and every transaction at its block."""
    with contextlib.closing(sqlite3.connect(database)) as reading:
        blocks = reading.execute("SELECT number, hash, total_difficulty FROM blocks ORDER BY number").fetchall()
        found = reading.execute("SELECT hash, block FROM transactions ORDER BY rowid").fetchall()
    facts = zip(itertools.count(), chain.headers, chain.total_difficulties, strict=False)
    wanted = [(number, header.hash, str(difficulty)) for number, header, difficulty in facts]
    transactions = [
        (keccak256(rlp.encode(one)), number)
        for number, body_rlp in enumerate(chain.bodies_rlp)
        for one in rlp.decode(body_rlp)[0]
    ]
    return blocks == wanted and found == transactions


@in_one_loop
async def test_the_sync_is_watched_until_its_end_and_the_deep_reorg_is_told() -> None:
    async with running_stack() as stack:
        async with running("watch_sync.py", *at(stack)) as watching:
            await until(lambda: watching.lines, "the first status")
            await dial_in(stack.enode, "alice", CHAIN)
            assert await watching.ended() == 0
        assert watching.lines[0] == "idle      block 0  peers 0"
        assert watching.lines[-1] == f"at the best peer's head: block 60 0x{CHAIN.headers[60].hash.hex()}"
        async with (
            running("reorg_alert.py", "--depth", 11, "--once", *at(stack)) as alert,
            running("reorg_alert.py", "--depth", 12, *at(stack)) as calm,
        ):
            await until(lambda: alert.lines and calm.lines, "both watching")
            await dial_in(stack.enode, "bob", OTHER)
            assert await alert.ended() == 0
        left, joined, ancestor = CHAIN.headers[60], OTHER.headers[50], CHAIN.headers[49]
        assert calm.lines == alert.lines[:1] == ["watching from block 60 on"]
        assert alert.lines[1] == (
            f"reorg of 11 blocks: 50 to 60 0x{left.hash.hex()} left the chain, "
            f"which goes on with 0x{joined.hash.hex()} after block 49 0x{ancestor.hash.hex()}"
        )


@in_one_loop
async def test_the_index_is_the_chain_over_a_kill_of_the_indexer_a_restart_of_the_node_and_a_reorg(
    tmp_path: Path,
) -> None:
    database = tmp_path / "chain.sqlite"
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        async with running("index_blocks.py", database, "--until", 40, *at(stack)) as first:
            assert await first.ended() == 0
        assert first.lines == [f"indexed up to block 40 0x{CHAIN.headers[40].hash.hex()}"]
        async with running("index_blocks.py", database, *at(stack)) as indexer:
            await until(lambda: indexed(database, CHAIN), "the chain in the index")
            await stack.coordinator.stop()
            await until(lambda: indexer.lines, "the interruption")
            assert "does not answer; see that it runs there, or ask another one; trying again" in indexer.lines[0]
            await indexer.kill()
        await stack.coordinator.start()
        await dial_in(stack.enode, "bob", OTHER)
        await stack.until_head(OTHER.headers[-1])
        assert indexed(database, CHAIN)
        async with running("index_blocks.py", database, "--until", 70, *at(stack)) as last:
            assert await last.ended() == 0
        assert last.lines[:2] == [
            f"block {number} 0x{CHAIN.headers[number].hash.hex()} left the chain" for number in (60, 59)
        ]
        assert indexed(database, OTHER)


@in_one_loop
async def test_examples_have_help_and_say_in_one_line_that_nobody_answers(tmp_path: Path) -> None:
    nowhere = ("--coordinator", f"unix:{tmp_path}/nobody.sock")
    for name in ("watch_sync.py", "reorg_alert.py"):
        async with running(name, "--help") as helping, running(name, *nowhere) as failing:
            assert (await helping.ended(), await failing.ended()) == (0, 1)
        assert any("--coordinator ADDRESS" in line for line in helping.lines)
        [line] = failing.lines
        assert line.startswith(f"{name.removesuffix('.py')}: the coordinator at unix:")
    async with running("index_blocks.py", "--help") as helping:
        assert await helping.ended() == 0


def test_every_example_is_described() -> None:
    described = (EXAMPLES / "README.md").read_text()
    assert all(f"[{path.name}]({path.name})" in described for path in EXAMPLES.glob("*.py"))
