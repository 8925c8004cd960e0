"""The published blockchain tests, read from their archives, and the import that judges them as a node would."""

from __future__ import annotations

import asyncio
import functools
import json
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.bodies import body_roots, split_block
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import Block, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.rule_broken import RuleBroken, broken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.ethash_library import open_verifier
from services.sync_coordinator.edges.seal_worker import first_bad_seal
from services.sync_coordinator.edges.seal_workers import NoSeal
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.vectors import VECTORS, from_hex

FOLDER: Final = VECTORS / "blockchain_tests"
CONSTANTINOPLE: Final = "legacytests-Constantinople.tar.xz"
TRANSITION: Final = "tests-BlockchainTests-Transition.tar.xz"

NOW: Final = 2.0**31
"""Later than every block that is judged valid."""

FORKS: Final = (
    "homestead_block",
    "eip150_block",
    "eip158_block",
    "byzantium_block",
    "constantinople_block",
    "petersburg_block",
    "istanbul_block",
    "berlin_block",
    "london_block",
    "arrow_glacier_block",
)
LAST_FORK_OF: Final = {
    "Frontier": None,
    "Homestead": "homestead_block",
    "EIP150": "eip150_block",
    "EIP158": "eip158_block",
    "Byzantium": "byzantium_block",
    "Constantinople": "constantinople_block",
    "ConstantinopleFix": "petersburg_block",
    "Berlin": "berlin_block",
    "London": "london_block",
    "ArrowGlacier": "arrow_glacier_block",
    "Paris": "arrow_glacier_block",
}


class PublishedBlock(NamedTuple):
    rlp: bytes
    fault: str | None
    """What the test calls wrong with it; None for a valid one."""


class PublishedCase(NamedTuple):
    name: str
    network: str
    has_seals: bool
    genesis_rlp: bytes | None
    """Of block 0; None where a test is about one block's bytes alone."""
    blocks: Sequence[PublishedBlock]
    last_hash: bytes

    @property
    def spec(self) -> ChainSpec:
        """The network's forks; `XToYAt5` has those of X from the start and those of Y from block 5."""
        before, _, after = self.network.partition("To")
        forks = _forks_until(before, 0)
        if after.startswith("Dao"):
            forks |= {"dao_fork_block": 5, "dao_fork_support": True}
        elif after.endswith("At5"):
            forks = _forks_until(after.removesuffix("At5"), 5) | forks
        elif after.startswith("ParisAtDiff"):
            forks["terminal_total_difficulty"] = int(after.removeprefix("ParisAtDiff"), 16)
        elif before == "Paris":
            forks["terminal_total_difficulty"] = 0
        return ChainSpec(chain_id=1, **forks)


def _forks_until(network: str, block: int) -> dict[str, Any]:
    last = LAST_FORK_OF[network]
    return {} if last is None else dict.fromkeys(FORKS[: FORKS.index(last) + 1], block)


@functools.cache
def published_cases(archive: str) -> list[PublishedCase]:
    """All cases of the archive, in its order."""
    cases: list[PublishedCase] = []
    with tarfile.open(FOLDER / archive, "r:xz") as files:
        for member in files:
            file = files.extractfile(member) if member.name.endswith(".json") else None
            if file is not None:
                folder = PurePosixPath(member.name).parent.name
                content = json.load(file)
                cases += [_case(f"{folder}/{name}", content[name]) for name in content]
    return cases


def _case(name: str, content: dict[str, Any]) -> PublishedCase:
    network = content.get("network") or content["blocks"][0].get("network", "Frontier")
    blocks = [PublishedBlock(_lenient_hex(row["rlp"]), _fault(row)) for row in content["blocks"]]
    if "genesisRLP" not in content:
        return PublishedCase(name, network, False, None, blocks, b"")
    genesis_rlp, last_hash = from_hex(content["genesisRLP"]), from_hex(content["lastblockhash"])
    return PublishedCase(name, network, content.get("sealEngine") == "Ethash", genesis_rlp, blocks, last_hash)


def _lenient_hex(text: str) -> bytes:
    """Some tests of broken bytes have half a byte too many, or none at all."""
    digits = text.removeprefix("0x")
    return bytes.fromhex(digits + "0" * (len(digits) % 2))


def _fault(row: dict[str, Any]) -> str | None:
    """The older tests name the exception for each network, all alike."""
    faults = [row[key] for key in sorted(row) if key.startswith("expectException")]
    if faults:
        return str(faults[0])
    return None if "blockHeader" in row else "unnamed"


class Verdicts(NamedTuple):
    rules: Sequence[str | None]
    """By index of the block: the rule it breaks, None where it was taken."""
    last_hash: bytes


class _InlineSeals(NoSeal):
    """Checks seals here and now: the tests' chains lie in epoch 0."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted

    async def check(self, headers: Sequence[Header]) -> None:
        bad = first_bad_seal(headers, open_verifier(0, 0)) if self._wanted else -1
        if bad >= 0:
            raise broken(headers[bad], "seal", "has a wrong seal")


def judge(case: PublishedCase, folder: Path, left_out: Collection[int] = ()) -> Verdicts:
    """Import the case's blocks one by one into a new store in `folder`, those at `left_out` aside."""
    assert case.genesis_rlp is not None
    header_rlp, _ = split_block(case.genesis_rlp)
    store = LmdbChainStore.open(folder, decode_header(header_rlp))
    try:
        return asyncio.run(_judge(case, store, left_out))
    finally:
        store.close()


async def _judge(case: PublishedCase, store: LmdbChainStore, left_out: Collection[int]) -> Verdicts:
    seals = _InlineSeals(wanted=case.has_seals)
    block_import = BlockImport(store, ChainRules(case.spec), seals, clock=lambda: NOW)
    rules: list[str | None] = []
    try:
        for index, block in enumerate(case.blocks):
            rule = None if index in left_out else fault_of_bytes(block.rlp)
            if rule is None and index not in left_out:
                try:
                    await block_import.import_blocks([_decoded(block.rlp)])
                except RuleBroken as fault:
                    rule = fault.rule
            rules.append(rule)
    finally:
        block_import.close()
    return Verdicts(rules, store.heads().full_block.hash)


def _decoded(block_rlp: bytes) -> Block:
    header_rlp, body_rlp = split_block(block_rlp)
    return Block(decode_header(header_rlp), body_rlp)


def fault_of_bytes(block_rlp: bytes) -> str | None:
    """What a block's bytes break by themselves: their form, or a root that the header promises."""
    try:
        header_rlp, body_rlp = split_block(block_rlp)
        header, body = decode_header(header_rlp), body_roots(body_rlp)
    except MalformedRlp:
        return "rlp"
    if body.transactions_root != header.transactions_root:
        return "transactions-root"
    return None if body.uncles_hash == header.uncles_hash else "uncles-hash"
