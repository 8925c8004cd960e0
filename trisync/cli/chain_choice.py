"""Which chain a command is about: a built-in network or a genesis file, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.shared.chainspec.genesis import GenesisInvalid, load_spec
from services.shared.chainspec.networks import UnknownNetwork
from services.shared.chainspec.networks import network as built_in_network
from trisync.cli.failures import BadUsage, CommandFailed


@dataclass(frozen=True, slots=True)
class ChainChoice:
    """Exactly one of `network` and `genesis` is set."""

    network: str | None
    genesis: Path | None
    network_id: int

    def arguments(self) -> list[str]:
        """The flags that tell a service of this choice."""
        chosen = ["--network", self.network or ""] if self.genesis is None else ["--genesis", str(self.genesis)]
        return [*chosen, "--networkid", str(self.network_id)]


def choose_chain(network: str | None, genesis: Path | None, network_id: int | None) -> ChainChoice:
    """Check the three flags together; an empty name is none. Raises BadUsage or CommandFailed."""
    network = network or None
    if network is not None and genesis is not None:
        raise BadUsage("--network and --genesis exclude each other; give one of them")
    if network_id is not None and not 1 <= network_id < 2**64:
        raise BadUsage(f"--networkid {network_id} is not in 1..2^64-1")
    if genesis is None:
        try:
            found = built_in_network(network or "mainnet")
        except UnknownNetwork as problem:
            raise BadUsage(f"--network: {problem}") from problem
        return ChainChoice(found.name, None, network_id or found.network_id)
    try:
        spec = load_spec(genesis)
    except GenesisInvalid as problem:
        raise CommandFailed(str(problem)) from problem
    return ChainChoice(None, genesis.absolute(), network_id or spec.chain_id or 1)
