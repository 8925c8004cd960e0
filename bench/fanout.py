"""`python -m bench.fanout`: what it costs to decide who hears of a block, and how soon they hear.

Three scenarios: the decisions alone; a broadcaster process with virtual peers; whole stacks with real peers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, common_pb2

from bench import made_blocks
from bench.bench_chain import CACHE
from bench.gateway_under_load import stop_child
from bench.hearing_peers import join, until_heard
from bench.resource_watch import ResourceWatch
from bench.sync import count
from bench.targets import Measured, below, rows_of, table
from bench.virtual_gateways import VirtualGateway, serve_standing_chain
from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import BlockRelay, JoinedPeer, RelayBlock
from services.broadcaster.core.fan_out import FanOut, fan_out_count
from services.shared.chainspec.enode import parse_enode
from services.shared.chainspec.genesis import load_genesis
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import Announce, BlockHash, PeerId
from services.shared.rpc.channel import open_channel
from tests.support.transactions import Draft
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.child import Child
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.plan import ServicePlan, StackOptions
from trisync.cli.run_stack import running_stack

MANY: Final = 1000
DECISIONS: Final = 500

VIRTUAL_GATEWAYS: Final = 4
BLOCK_BYTES: Final = 100 * 1024
VIRTUAL_S: Final = 12
TRANSACTIONS_A_SECOND: Final = 20
"""Each goes to all peers but its sender: 20,000 sends a second."""
SETTLE_S: Final = 0.5
CHAIN_SOCKET: Final = "chain.sock"

REAL_PEERS: Final = 50
REAL_GATEWAYS: Final = 2
REAL_BLOCKS: Final = 150
PAUSE_S: Final = 0.05
LONGEST_S: Final = 5.0


async def decide() -> list[Measured]:
    """The relay alone: who gets a block and who its hash, of 1,000 peers of which some have it."""
    rng = random.Random(1)
    relay = BlockRelay(FanOut.SEED, rng)
    peers = _virtual_peers(MANY)
    gateways = [GatewayId(f"gateway-{at}") for at in range(VIRTUAL_GATEWAYS)]
    for at, gateway in enumerate(gateways):
        relay.attach(gateway, [JoinedPeer(peer) for peer in peers[at::VIRTUAL_GATEWAYS]])
    took_ms = []
    for number in range(DECISIONS):
        block = RelayBlock(BlockHash(number.to_bytes(32)), number, b"", b"", 1)
        for at in rng.sample(range(MANY), 100):
            relay.mark_known(gateways[at % VIRTUAL_GATEWAYS], peers[at], [block.block_hash])
        started = time.perf_counter()
        relay.propagate(block, [])
        relay.announce(Announce(block.block_hash, number), [])
        took_ms.append((time.perf_counter() - started) * 1e3)
    return [
        Measured(f"decide for {MANY:,} peers, whole and hash: median", statistics.median(took_ms), "ms", below(5)),
        Measured(f"decide for {MANY:,} peers, whole and hash: p99", _p99(took_ms), "ms"),
    ]


async def virtual() -> list[Measured]:
    """A broadcaster process with 1,000 peers behind four scripted gateways, 100 KB and 20 transactions a second."""
    drafts = [Draft(account=at).wire() for at in range(VIRTUAL_S * TRANSACTIONS_A_SECOND)]
    async with contextlib.AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trisync-")))
        address = f"unix:{scratch / 'b.sock'}"
        await serve_standing_chain(scratch / CHAIN_SOCKET, stack)
        child = await _broadcaster(scratch, address, stack)
        channel = await stack.enter_async_context(open_channel(address))
        peers = _virtual_peers(MANY)
        gateways = [
            await VirtualGateway.attach(channel, f"gateway-{at}", peers[at::VIRTUAL_GATEWAYS])
            for at in range(VIRTUAL_GATEWAYS)
        ]
        assert child.pid is not None
        watch = ResourceWatch({child.pid: "broadcaster"})
        calls = broadcast_pb2_grpc.BroadcastServiceStub(channel)
        waits_ms, started = [], time.perf_counter()
        for number in range(VIRTUAL_S):
            for tick in range(TRANSACTIONS_A_SECOND):
                await asyncio.sleep(max(0.0, started + number + tick / TRANSACTIONS_A_SECOND - time.perf_counter()))
                at = number * TRANSACTIONS_A_SECOND + tick
                await gateways[at % VIRTUAL_GATEWAYS].pass_on(peers[at % VIRTUAL_GATEWAYS], drafts[at])
            block_hash = os.urandom(32)
            for at, gateway in enumerate(gateways):
                await gateway.know(peers[at::VIRTUAL_GATEWAYS][:25], block_hash)
            asked = time.perf_counter()
            sent = await calls.Propagate(_propagate(block_hash, number))
            waits_ms.append((time.perf_counter() - asked) * 1e3)
            announce = common_pb2.Announce(block_hash=block_hash, number=number)
            told = await calls.AnnounceBlock(broadcast_pb2.AnnounceBlockRequest(announce=announce))
            assert sent.propagated == fan_out_count(FanOut.SEED, sent.lacking)
            # Fewer, where a peer announces the block in between.
            assert 0 < told.announced <= sent.lacking - sent.propagated
        await asyncio.sleep(SETTLE_S)
        seconds = time.perf_counter() - started
        used = watch.usage()
        sends = sum(gateway.transaction_sends for gateway in gateways)
        blocks = [gateway.blocks for gateway in gateways]
    assert max(blocks) <= VIRTUAL_S, "a block's bytes cross to each gateway once"
    assert sends == len(drafts) * (MANY - 1), "every peer but its sender is sent each transaction, once"
    cpu = 100 * used.cpu_seconds["broadcaster"] / seconds
    return [
        Measured("1,000 virtual peers, 100 KB and 20 transactions a second: CPU", cpu, "% of a core", below(60)),
        Measured("1,000 virtual peers: Propagate answered, median", statistics.median(waits_ms), "ms"),
        Measured("1,000 virtual peers: Propagate answered, longest", max(waits_ms), "ms"),
        Measured("1,000 virtual peers: private memory", used.peak_memory_mb["broadcaster"], "MB"),
    ]


async def real() -> list[Measured]:
    """Fifty peers over RLPx on two gateways: from a block's push to its arrival at the last of those chosen."""
    scratch = Path(tempfile.mkdtemp(prefix="fanout-", dir=_cache()))
    try:
        genesis = made_blocks.write_genesis(scratch / "genesis.json")
        header = load_genesis(genesis).header
        blocks = list(made_blocks.chain(genesis, REAL_BLOCKS))
        options = StackOptions(
            data_dir=DataDir(scratch),
            chain=ChainChoice(None, genesis, made_blocks.NETWORK_ID),
            seal_check="none",
            host="127.0.0.1",
            port=0,
            nodiscover=True,
            gateways=REAL_GATEWAYS,
            maxpeers=2 * REAL_PEERS,
            min_sync_peers=1000,
            force_sync_cycle=3600.0,
        )
        async with running_stack(options, _say_nothing, asyncio.Event()) as stack:
            status = Status(63, made_blocks.NETWORK_ID, header.difficulty, header.hash, header.hash)
            peers = await join([parse_enode(url) for url in stack.enodes], REAL_PEERS, status)
            await asyncio.sleep(1.0)
            chosen = fan_out_count(FanOut.SEED, REAL_PEERS - 1)
            last_ms, first_ms, all_ms = [], [], []
            total_difficulty = header.difficulty
            for at, block in enumerate(blocks):
                total_difficulty += block.header.difficulty
                source = peers[at % REAL_PEERS]
                others = [peer for peer in peers if peer is not source]
                pushed = source.push(block, total_difficulty)
                heard = (await until_heard(others, block.header.hash, LONGEST_S)).values()
                whole = sorted(one.at - pushed for one in heard if one.whole)
                if len(heard) != len(others) or len(whole) != chosen:
                    raise CommandFailed(f"block {at + 1}: {len(heard)} heard of it, {len(whole)} of them whole")
                first_ms.append(1e3 * whole[0])
                last_ms.append(1e3 * whole[-1])
                all_ms.append(1e3 * (max(one.at for one in heard) - pushed))
                await asyncio.sleep(PAUSE_S)
            if repeated := sum(peer.repeated for peer in peers):
                raise CommandFailed(f"{repeated} times a peer heard of a block that it knew")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size_kb = statistics.mean(len(block.body_rlp) for block in blocks) / 1024
    name = f"{REAL_PEERS} real peers, {size_kb:.0f} KB blocks"
    return [
        Measured(f"{name}: push to the last of {chosen}, p50", statistics.median(last_ms), "ms", below(15)),
        Measured(f"{name}: push to the last of {chosen}, p99", _p99(last_ms), "ms", below(60)),
        Measured(f"{name}: push to the first of {chosen}, p50", statistics.median(first_ms), "ms"),
        Measured(f"{name}: until all were told, p50", statistics.median(all_ms), "ms"),
        Measured(f"{name}: until all were told, p99", _p99(all_ms), "ms"),
    ]


async def _broadcaster(scratch: Path, address: str, stack: contextlib.AsyncExitStack) -> Child:
    nothing = os.open(os.devnull, os.O_RDONLY)
    stack.callback(os.close, nothing)
    words = ["--coordinator", f"unix:{scratch / CHAIN_SOCKET}", "--listen", address, "--run-dir", str(scratch)]
    plan = ServicePlan(
        name="broadcaster",
        service="broadcaster",
        module="services.broadcaster",
        run_dir=scratch,
        log_path=scratch / "broadcaster.log",
        arguments=(*words, "--log-level", "error", "--stop-with-parent"),
    )
    child = Child(plan, nothing)
    stack.push_async_callback(stop_child, child)
    await child.start()
    await child.wait_ready()
    return child


def _propagate(block_hash: bytes, number: int) -> broadcast_pb2.PropagateRequest:
    return broadcast_pb2.PropagateRequest(
        header_rlp=bytes(500),
        body_rlp=os.urandom(BLOCK_BYTES),
        block_hash=block_hash,
        number=number,
        total_difficulty=b"\x01",
        header_valid_us=time.time_ns() // 1000,
    )


def _virtual_peers(number: int) -> list[PeerId]:
    return [PeerId(at.to_bytes(64)) for at in range(number)]


def _cache() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _say_nothing(line: str) -> None:
    del line


SCENARIOS: Final[Mapping[str, Callable[[], Coroutine[Any, Any, list[Measured]]]]] = {
    "decide": decide,
    "virtual": virtual,
    "real": real,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description="Measure how blocks are passed on.")
    parser.add_argument("--only", choices=SCENARIOS, help="only this; without it all")
    parser.add_argument("--runs", type=count, default=3, help="runs of each; medians are shown (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    chosen = [options.only] if options.only else list(SCENARIOS)
    try:
        runs = [asyncio.run(SCENARIOS[name]()) for _ in range(options.runs) for name in chosen]
    except CommandFailed as failure:
        print(f"bench.fanout: {failure}", file=sys.stderr, flush=True)
        return 1
    rows = rows_of(runs)
    print(f"medians of {options.runs}, {os.cpu_count()} processors, shared by all processes\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
