"""`python -m bench.swarm TARGET_ENODE`: how soon the peers of any eth/63 node hear of a block that one of them pushes.

The target is trisync, geth or another client that has a chain up to some block; the next ones are pushed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

from bench.bench_chain import CACHE, find_chain, unpack
from bench.hearing_peers import Heard, join, until_heard
from bench.sync import count
from bench.targets import Measured, rows_of, table
from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.chainspec.genesis import load_genesis
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.store.dumps import read_chain_file
from trisync.cli.failures import BAD_USAGE, DONE, CommandFailed

HEARD_WITHIN_S: Final = 5.0
"""How long the others may take to hear of a block; fetching after an announce is the target's business, not theirs."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A dump's blocks with the total difficulty of each."""

    genesis: Header
    blocks: Sequence[Block]

    def next_after(self, head: BlockHash, number: int) -> list[tuple[Block, int]]:
        """At most `number` blocks above `head`, with their total difficulties. Raises CommandFailed."""
        hashes = [self.genesis.hash, *(block.header.hash for block in self.blocks)]
        if head not in hashes:
            raise CommandFailed(
                f"the target's head 0x{head.hex()} is not in this chain; give its --chain and --genesis"
            )
        at = hashes.index(head)
        difficulties = list(accumulate([self.genesis.difficulty, *(block.header.difficulty for block in self.blocks)]))
        following = list(zip(self.blocks[at:], difficulties[at + 1 :], strict=True))[:number]
        if not following:
            raise CommandFailed(
                "the target has the whole chain; give it one that ends earlier, as `trisync import` does"
            )
        return following


async def swarm(target: Enode, chain: Chain, options: argparse.Namespace) -> list[Measured]:
    """Join, push one block after the other, each from another peer, and note what the others hear."""
    shown = await target_status(target, options.networkid, chain.genesis)
    following = chain.next_after(shown.head_hash, options.blocks)
    peers = await join([target], options.peers, shown)
    told: list[Mapping[int, Heard]] = []
    pushed: list[float] = []
    for at, (block, total_difficulty) in enumerate(following):
        source = peers[at % len(peers)]
        others = [peer for peer in peers if peer is not source]
        pushed.append(source.push(block, total_difficulty))
        told.append(await until_heard(others, block.header.hash, HEARD_WITHIN_S))
        if lost := [peer.ended.result() for peer in peers if not peer.is_connected]:
            raise CommandFailed(f"block {block.header.number}: {len(lost)} peers were disconnected: {lost[0]}")
        await asyncio.sleep(options.pause)
    repeated = sum(peer.repeated for peer in peers)
    for peer in peers:
        peer.hang_up()
    return rows_of_blocks(pushed, told, len(peers) - 1, repeated)


async def target_status(target: Enode, network_id: int, genesis: Header) -> Status:
    """What the target says of itself to a peer of its network."""
    ours = Status(63, network_id, genesis.difficulty, genesis.hash, genesis.hash)
    try:
        [probe] = await join([target], 1, ours)
    except (OSError, TimeoutError) as problem:
        raise CommandFailed(
            f"{target.host}:{target.tcp_port} cannot be joined: {problem or 'it did not answer'}"
        ) from problem
    assert probe.status is not None
    probe.hang_up()
    return probe.status


def rows_of_blocks(
    pushed: Sequence[float], told: Sequence[Mapping[int, Heard]], others: int, repeated: int
) -> list[Measured]:
    """Milliseconds from the push, over all blocks; where nobody was sent a block whole, those rows are missing."""
    whole = [sorted(one.at - at for one in heard.values() if one.whole) for at, heard in zip(pushed, told, strict=True)]
    hashes = [
        sorted(one.at - at for one in heard.values() if not one.whole) for at, heard in zip(pushed, told, strict=True)
    ]
    rows = [
        Measured("blocks pushed", len(pushed), ""),
        Measured("peers that heard of a block, of the others", statistics.mean(map(len, told)), f"of {others}"),
        Measured("of these, sent it whole", statistics.mean(map(len, whole)), "peers"),
        Measured("heard of it again", repeated, "times"),
    ]
    for name, waits in (
        ("first sent it whole", [one[0] for one in whole if one]),
        ("last sent it whole", [one[-1] for one in whole if one]),
        ("first told its hash", [one[0] for one in hashes if one]),
        ("last told its hash", [one[-1] for one in hashes if one]),
    ):
        if waits:
            rows.append(Measured(f"{name}: p50", 1e3 * statistics.median(waits), "ms"))
            rows.append(Measured(f"{name}: longest", 1e3 * max(waits), "ms"))
    return rows


def read_chain(dump: Path, genesis: Path) -> Chain:
    """Raises CommandFailed or DumpInvalid."""
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
        if dump.suffix == ".xz":
            unpack(dump, Path(scratch) / dump.stem)
            dump = Path(scratch) / dump.stem
        blocks = [Block(decode_header(one.header_rlp), one.body_rlp) for one in read_chain_file(dump)]
    return Chain(load_genesis(genesis).header, [block for block in blocks if block.header.number])


def _cache() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.swarm", description="Measure how a node passes blocks on.")
    parser.add_argument("target", help="enode URL of the node; it must take --peers peers of one address")
    parser.add_argument(
        "--chain", type=Path, help="chain dump of which the target has a part (default: the bench chain)"
    )
    parser.add_argument("--genesis", type=Path, help="its genesis file in geth's format")
    parser.add_argument("--networkid", type=int, help="network id; without it the chain id of the genesis file")
    parser.add_argument("--peers", type=count, default=25, help="peers that join (default 25)")
    parser.add_argument("--blocks", type=count, default=50, help="blocks that are pushed (default 50)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two blocks (default 0.2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    try:
        target = parse_enode(options.target)
        found = find_chain(options.chain, options.genesis, options.networkid, "none")
        assert found.choice.genesis is not None
        options.networkid = options.networkid or found.choice.network_id
        chain = read_chain(found.dump, found.choice.genesis)
        rows = rows_of([asyncio.run(swarm(target, chain, options))])
    except EnodeInvalid as problem:
        print(f"bench.swarm: {problem}", file=sys.stderr, flush=True)
        return BAD_USAGE
    except CommandFailed as failure:
        print(f"bench.swarm: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
