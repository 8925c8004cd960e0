"""What a node serves to peers that ask, alone and while it syncs; it runs as `trisync up` would run it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench import made_blocks
from bench.bench_chain import CACHE, BenchChain, import_once
from bench.gateway_under_load import GENERATOR
from bench.line_server import LineProcess
from bench.resource_watch import ResourceWatch
from bench.sync import SYNC_TIMEOUT_S, stack_options
from bench.targets import Measured, at_least, below
from services.shared.chainspec.genesis import load_genesis
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import CommandFailed
from trisync.cli.run_stack import running_stack
from trisync.cli.stack import Stack
from trisync.client import AsyncCoordinator
from trisync.node_status import NodeStatus

ASKING_PEERS: Final = 20
MADE_BLOCKS: Final = 2_000
WARM_UP_S: Final = 2.0
SERVE_S: Final = 8.0

MIXED_HEADERS_PER_S: Final = 6_000
"""Asked for from the first blocks on, so that 5,000 are served even where a question waits."""
QUESTION_HEADERS: Final = 192
LONGEST_WAIT_S: Final = 5.0


async def serve() -> list[Measured]:
    """Twenty peers, each of which asks again as soon as it is answered."""
    chain = await asyncio.to_thread(made_chain)
    source = DataDir(await import_once(chain, asyncio.Event()))
    measured: list[Measured] = []
    for kind in ("headers", "bodies"):
        async with contextlib.AsyncExitStack() as running:
            options = stack_options(chain, source, maxpeers=2 * ASKING_PEERS)
            stack = await running.enter_async_context(running_stack(options, _say_nothing, asyncio.Event()))
            peers = await running.enter_async_context(_asking_peers(chain, stack))
            await peers.ask("hashes", path=str(_hashes_of(chain)))
            await peers.ask("ask", kind=kind, reach=MADE_BLOCKS - QUESTION_HEADERS)
            await asyncio.sleep(WARM_UP_S)
            watch = ResourceWatch({**_pids(stack), peers.pid: "peers"})
            await peers.ask("reset")
            await asyncio.sleep(SERVE_S)
            answered = await peers.ask("stats")
            measured += _serve_rows(kind, answered, watch.usage().cpu_seconds)
    return measured


async def mixed(chain: BenchChain) -> list[Measured]:
    """A sync by itself, then one during which twenty peers ask for headers."""
    source = DataDir(await import_once(chain, asyncio.Event()))
    alone, _ = await _sync(chain, source, rate=0)
    loaded, answered = await _sync(chain, source, rate=MIXED_HEADERS_PER_S / QUESTION_HEADERS)
    return [
        Measured("mixed: sync alone", alone, "blocks/s"),
        Measured("mixed: sync while serving", loaded, "blocks/s"),
        Measured("mixed: of its rate the sync keeps", 100 * loaded / alone, "%", at_least(60)),
        Measured("mixed: questions answered", answered["questions"] / answered["seconds"], "/s"),
        Measured(
            "mixed: headers served meanwhile", answered["items"] / answered["seconds"], "headers/s", at_least(5_000)
        ),
        Measured("mixed: answered empty, for want of blocks", answered["empty"], ""),
        Measured("mixed: longest wait for an answer", answered["longest_wait_s"], "s", below(LONGEST_WAIT_S)),
    ]


async def _sync(chain: BenchChain, source: DataDir, rate: float) -> tuple[float, Mapping[str, Any]]:
    """Blocks a second of one sync, and what was answered to peers that ask `rate` times a second meanwhile.

    The peers are there before the source dials, so they ask from the first block to the last.
    """
    stop, sink = asyncio.Event(), DataDir(Path(tempfile.mkdtemp(prefix="sink-", dir=CACHE)))
    try:
        async with contextlib.AsyncExitStack() as running:
            options = stack_options(chain, sink, min_sync_peers=1, maxpeers=2 * ASKING_PEERS)
            syncing = await running.enter_async_context(running_stack(options, _say_nothing, stop))
            peers = await running.enter_async_context(_asking_peers(chain, syncing))
            if rate:
                await peers.ask("ask", kind="headers", rate=rate, grows=True)
            options = stack_options(chain, source, static_peers=tuple(syncing.enodes))
            await running.enter_async_context(running_stack(options, _say_nothing, stop))
            async with asyncio.timeout(SYNC_TIMEOUT_S), AsyncCoordinator(syncing.plan.coordinator_address) as client:
                await _until(client, lambda status: status.full_block_head.number >= QUESTION_HEADERS)
                await peers.ask("reset")
                reached = await _until(client, lambda status: status.syncs_done > 0 and status.at_best_peer_head)
                answered = await peers.ask("stats")
        if reached.syncs_failed or reached.sync_seconds <= 0:
            raise CommandFailed(f"the sync did not go through in one: {reached.last_sync_outcome}")
        return reached.blocks_synced / reached.sync_seconds, answered
    finally:
        shutil.rmtree(sink.path, ignore_errors=True)


async def _until(client: AsyncCoordinator, holds: Callable[[NodeStatus], bool]) -> NodeStatus:
    async for status in client.watch_status():
        if holds(status):
            return status
    raise CommandFailed("the coordinator ended during the sync")


def _serve_rows(kind: str, answered: Mapping[str, Any], used: Mapping[str, float]) -> list[Measured]:
    name, seconds = f"serve {kind}", answered["seconds"]
    assert not answered["empty"], f"{answered['empty']} questions for {kind} were answered empty"
    if kind == "headers":
        first = Measured(name, answered["items"] / seconds, "headers/s", at_least(20_000))
    else:
        first = Measured(name, answered["bytes"] / seconds / 1e6, "MB/s", at_least(25))
    shares = [Measured(f"{name}: CPU of the {who}", 100 * cpu / seconds, "% of a core") for who, cpu in used.items()]
    return [first, Measured(f"{name}: longest wait", answered["longest_wait_s"], "s"), *shares]


@contextlib.asynccontextmanager
async def _asking_peers(chain: BenchChain, stack: Stack) -> AsyncIterator[LineProcess]:
    assert chain.choice.genesis is not None
    genesis = load_genesis(chain.choice.genesis).header
    peers = await LineProcess.start(GENERATOR)
    try:
        said = {"genesis": genesis.hash.hex(), "network_id": chain.choice.network_id}
        await peers.ask("join", enode=stack.enodes[0], name="asking", count=ASKING_PEERS, **said)
        await peers.ask("reset")
        yield peers
    finally:
        await peers.stop()


def made_chain() -> BenchChain:
    """The made chain's dump, genesis and hashes, made once."""
    directory = CACHE / f"made-{MADE_BLOCKS}"
    dump, genesis = directory / "chain.rlp", directory / "genesis.json"
    chain = BenchChain(dump, ChainChoice(None, genesis, made_blocks.NETWORK_ID), "none")
    if not _hashes_of(chain).exists():
        directory.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="making-", dir=CACHE))
        try:
            made_blocks.write_genesis(genesis)
            hashes = made_blocks.write_dump(dump, genesis, MADE_BLOCKS)
            (scratch / "hashes").write_bytes(b"".join(hashes))
            # Last, and at once: it says that all is there.
            (scratch / "hashes").replace(_hashes_of(chain))
        finally:
            shutil.rmtree(scratch)
    return chain


def _hashes_of(chain: BenchChain) -> Path:
    return chain.dump.parent / "hashes"


def _pids(stack: Stack) -> dict[int, str]:
    children = {"coordinator": stack.coordinator, "gateway": stack.gateways[0], "broadcaster": stack.broadcaster}
    return {child.pid: name for name, child in children.items() if child.pid is not None}


def _say_nothing(line: str) -> None:
    del line
