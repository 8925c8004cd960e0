"""The chains that `bench.imports` imports, and how far each must be accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.bench_chain import PROJECT

DATA: Final = PROJECT.parent / "shared" / "data"

BUNDLED_ERA: Final = PROJECT / "data" / "mainnet-00000-5ec1ffb8.era1"


@dataclass(frozen=True, slots=True)
class ImportCase:
    """Files of one chain, seen from the data folder. `head` is the last block that must be accepted."""

    files: Sequence[str]
    chain: str
    """A built-in network, or a genesis file seen from the data folder."""
    head: int
    end: str = ""
    """The rule, or words, with which the import must be refused after `head`; without it all must be accepted."""
    seal_check: str = "auto"

    @property
    def name(self) -> str:
        """The folder and the first file, short."""
        return self.files[0].removeprefix("testchains/").removeprefix(f"{PROJECT}/")

    def paths(self, data: Path) -> list[Path]:
        return [data / file for file in self.files]

    def arguments(self, data: Path) -> list[str]:
        """For the import command, files left out."""
        chosen = ["--genesis", str(data / self.chain)] if self.chain.endswith(".json") else ["--network", self.chain]
        return [*chosen, "--seal-check", self.seal_check]

    def is_there(self, data: Path) -> bool:
        chain = [data / self.chain] if self.chain.endswith(".json") else []
        return all(path.is_file() for path in [*self.paths(data), *chain])


def _chain(folder: str, head: int, dump: str = "chain.rlp", *, end: str = "", seal_check: str = "auto") -> ImportCase:
    """A dump of `testchains` with the genesis file beside it."""
    folder = f"testchains/{folder}"
    return ImportCase((f"{folder}/{dump}",), f"{folder}/genesis.json", head, end, seal_check)


_BESU: Final = "testchains/besu"
_FORKS: Final = f"{_BESU}/fork-chain-data"
_MADE_UP_SEALS: Final = "none"
"""These chains' makers did not search for seals."""

BUNDLED: Final = ImportCase((str(BUNDLED_ERA),), "mainnet", 8191)

CASES: Final[Sequence[ImportCase]] = (
    ImportCase(("mainnet/mainnet-00000-5ec1ffb8.era1",), "mainnet", 8191),
    ImportCase(("mainnet/besu-1000.blocks",), "mainnet", 999),
    ImportCase(("mainnet/besu-badpow.blocks",), "mainnet", 0, "seal"),
    ImportCase(("mainnet/besu-46350-46399.blocks",), "mainnet", 0, "parent"),
    ImportCase(("sepolia/sepolia-00000-643a00f7.era1",), "sepolia", 8191),
    ImportCase(("clique/besu-private-clique.blocks",), "clique/besu-private-clique-genesis.json", 4),
    ImportCase(
        (f"{_FORKS}/common.blocks", f"{_FORKS}/fork-outdated.blocks", f"{_FORKS}/fork-upgraded.blocks"),
        f"{_FORKS}/genesis-upgraded.json",
        10,
    ),
    ImportCase((f"{_BESU}/testBlockchain.blocks",), f"{_BESU}/testGenesis.json", 32),
    ImportCase(("testchains/geth-cmd/blockchain.blocks",), f"{_BESU}/testGenesis.json", 32),
    ImportCase((f"{_BESU}/hive/testBlockchain.blocks",), f"{_BESU}/hive/testGenesis.json", 32, "withdrawals"),
    ImportCase(
        (f"{_BESU}/fork-london-data/testLondonBlockchain.blocks",),
        f"{_BESU}/fork-london-data/testLondonGenesis.json",
        5,
    ),
    ImportCase(
        (f"{_BESU}/test-eth-ref-rpc-compact/chain.blocks",), f"{_BESU}/test-eth-ref-rpc-compact/genesis.json", 3
    ),
    ImportCase(
        (f"{_BESU}/snap/testBlockchain.blocks",), f"{_BESU}/snap/snapGenesis.json", 71, "difficulty", _MADE_UP_SEALS
    ),
    _chain("geth-v1.10.26", 3000),
    _chain("geth-v1.13.14", 71, end="difficulty", seal_check=_MADE_UP_SEALS),
    _chain("geth-head", 0, end="starts as proof-of-stake"),
    _chain("hive-engine-pow", 2, "blocks_2_td_393120.rlp"),
    _chain("hive-engine-pow", 2, "blocks_2_td_393504.rlp"),
    _chain("hive-eth-2020-09", 2000, "fullchain.rlp"),
    _chain("hive-geth2905", 0, end="parent"),
    _chain("hive-smoke-genesis-chain", 5),
    _chain("hive-snailtracer", 1),
    _chain("hive-sync-2025", 0, end="starts as proof-of-stake"),
    _chain("hive-sync-clique-2023", 119, end="difficulty"),
    _chain("hive-sync-simplechain-2019", 10),
    _chain("hive-sync-simplechain-2020", 3000),
    _chain("hive-zksnarks", 2),
    ImportCase(("bench/bulk-20k.rlp.xz",), "bench/bulk-genesis.json", 20_000, seal_check=_MADE_UP_SEALS),
)
"""Every dump and archive of the shared data. Two are no whole chains: `hive-geth2905`, whose genesis file gives another
block 0, and the mainnet blocks from 46350 on, whose ancestors are not there."""
