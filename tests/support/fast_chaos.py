"""kill -9 at random moments of a fast sync: `python -m tests.support.fast_chaos --kills 100 --seed 7`.

Each sync is disturbed by a few kills, of the coordinator or of the gateway. A kill comes a random number of
the peer's answers after the one before, and a random moment within what is done about that answer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from services.shared.ethwire.bodies import EMPTY_RECEIPTS_RLP
from services.shared.ethwire.messages import EthMessage, GetNodeData, Status
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.tables import Table
from tests.support.chain_peers import honest
from tests.support.deadlines import until
from tests.support.fast_chain import FastChain, fast_chain
from tests.support.processes import kill, run_trisync, running_processes
from tests.support.scripted_peer import ScriptedListener
from tests.support.small_network import NETWORK_ID, write_genesis
from tests.support.wire import local_node
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.data_dir import DataDir
from trisync.cli.stack import Stack
from trisync.client import AsyncCoordinator, CoordinatorError

BLOCKS: Final = 1000
ACCOUNTS: Final = 8000
KILLS_PER_SYNC: Final = 5
MOST_ANSWERS: Final = 60
"""Between two kills. An undisturbed sync of this chain takes about a hundred."""
LONGEST_DELAY_S: Final = 0.05


@dataclass
class Disturbed:
    """What one disturbed sync left at each kill."""

    kills: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    """The fast-block head in the store."""
    stored: list[int] = field(default_factory=list)
    """State entries in the store."""
    asked_again: int = 0
    """State entries asked for although they were in the store when the coordinator last started."""


class WatchedPeer:
    """An honest peer that counts its answers, and notices questions for state that is stored already."""

    def __init__(self, chain: FastChain) -> None:
        scripted = chain.scripted()
        self._answer = honest(scripted, status=scripted.status(NETWORK_ID))
        self.answered = 0
        self.stored: frozenset[bytes] = frozenset()
        self.asked_again = 0

    def answer(self, message: EthMessage) -> EthMessage | None:
        reply = self._answer(message)
        if isinstance(message, GetNodeData):
            self.asked_again += len(self.stored.intersection(message.hashes))
        self.answered += reply is not None and not isinstance(message, Status)
        return reply


async def disturbed_sync(directory: Path, chain: FastChain, rng: random.Random, kills: int) -> Disturbed:
    """One fast sync into an empty directory, to its end. Fails when what it leaves is not all of the chain."""
    found = Disturbed()
    peer = WatchedPeer(chain)
    genesis = write_genesis(directory / "genesis.json")
    async with (
        ScriptedListener(local_node("alice"), peer.answer) as alice,
        running_processes(
            directory,
            ChainChoice(None, genesis, NETWORK_ID),
            syncmode="fast",
            static_peers=(str(alice.enode),),
            force_sync_cycle=0.5,
        ) as stack,
    ):
        for _ in range(kills):
            wanted = peer.answered + rng.randint(1, MOST_ANSWERS)
            if not await _answers_before_the_end(stack, peer, chain, wanted):
                break
            await asyncio.sleep(rng.uniform(0, LONGEST_DELAY_S))
            await _kill_one(stack, directory, rng, peer, found)
        await until(partial(_is_synced, stack, chain), "the end of the sync")
    found.asked_again = peer.asked_again
    await check_whole(directory, genesis, chain)
    return found


async def check_whole(directory: Path, genesis: Path, chain: FastChain) -> None:
    """The store is what an undisturbed sync leaves, and no service met a bug on the way."""
    logs = [log.read_text() for log in DataDir(directory).logs_dir.glob("*.log")]
    assert [log for log in logs if "Traceback" in log] == []
    verified = await run_trisync("verify", "--datadir", directory, "--genesis", genesis, "--seal-check", "none")
    assert verified.exit_code == 0, verified.err
    store = LmdbChainStore.open(store_path(directory), None, read_only=True)
    try:
        assert [head.hash for head in store.heads()] == [chain.head.hash] * 3
        hashes = [block.header.hash for block in chain.blocks]
        assert [store.canonical_hash(number) for number in range(1, len(hashes) + 1)] == hashes
        assert store.bodies(hashes) == [block.body_rlp for block in chain.blocks]
        kept = [None if receipts == EMPTY_RECEIPTS_RLP else receipts for receipts in chain.receipts.values()]
        pivot = store.pivot()
        assert pivot is not None
        fetched_fast = store.number_of(pivot)
        found = store.receipts(hashes)
        assert found[:fetched_fast] == kept[:fetched_fast]
        # A sync that goes on above the pivot after a restart is a full one, which fetches no receipts.
        assert [mine for mine, theirs in zip(found, kept, strict=True) if mine not in (theirs, None)] == []
        with store.snapshot() as snapshot:
            assert dict(snapshot.entries(Table.STATE)) == chain.state.entries
    finally:
        store.close()


async def _answers_before_the_end(stack: Stack, peer: WatchedPeer, chain: FastChain, wanted: int) -> bool:
    """Wait for so many answers; False when the sync ends first."""

    async def is_decided() -> bool:
        return peer.answered >= wanted or await _is_synced(stack, chain)

    await until(is_decided, "answers of the peer")
    return peer.answered >= wanted


async def _kill_one(stack: Stack, directory: Path, rng: random.Random, peer: WatchedPeer, found: Disturbed) -> None:
    """Kill a service, look at the store, start the service again as its supervisor would."""
    victim = rng.choice([stack.coordinator, stack.coordinator, stack.gateways[0]])
    kill(victim.pid)
    await victim.wait_end()
    victim.kill_group()
    store = LmdbChainStore.open(store_path(directory), None, read_only=True)
    try:
        with store.snapshot() as snapshot:
            stored = frozenset(entry_hash for entry_hash, _ in snapshot.entries(Table.STATE))
        found.kills.append(victim.plan.name)
        found.heads.append(store.heads().fast_block.number)
        found.stored.append(len(stored))
    finally:
        store.close()
    if victim is stack.coordinator:
        peer.stored = stored
    await victim.start()
    await victim.wait_ready()


async def _is_synced(stack: Stack, chain: FastChain) -> bool:
    async with AsyncCoordinator(stack.plan.coordinator_address) as client:
        try:
            status = await client.status()
        except CoordinatorError:
            return False
    return status.full_block_head.block_hash == chain.head.hash and status.phase.value == "idle"


async def _run(kills: int, seed: int) -> None:
    rng = random.Random(seed)
    chain = fast_chain(BLOCKS, accounts=ACCOUNTS)
    done = 0
    while done < kills:
        share = min(KILLS_PER_SYNC, kills - done)
        with tempfile.TemporaryDirectory(prefix="fast-chaos-") as directory:
            found = await disturbed_sync(Path(directory), chain, rng, share)
        done += len(found.kills)
        print(f"{done} kills: {found}", flush=True)
        assert found.asked_again == 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill coordinator and gateway at random moments of fast syncs.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(_run(options.kills, options.seed))


if __name__ == "__main__":
    main()
