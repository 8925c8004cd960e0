"""Which chain the doctor asks about, and which built-in network a peer's Status is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.shared.chainspec.genesis import Genesis
from services.shared.chainspec.networks import NETWORK_NAMES, Network, network
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import BlockHash

DAO_EXTRA_DATA: Final = b"dao-hard-fork"
"""Extra-data of the first blocks on the side that supports the DAO fork (EIP-779)."""


@dataclass(frozen=True, slots=True)
class DaoFork:
    """Where the two sides parted. `support` is our side, None where we are on none."""

    block: int
    support: bool | None


@dataclass(frozen=True, slots=True)
class ExpectedChain:
    """The chain a peer should be on."""

    name: str
    network_id: int
    genesis_hash: BlockHash
    dao_fork: DaoFork | None = None


def expected_network(name: str, network_id: int | None = None) -> ExpectedChain:
    """A built-in network. Raises UnknownNetwork."""
    found = network(name)
    return ExpectedChain(name, network_id or found.network_id, found.genesis_hash, _dao_fork(found.spec))


def expected_genesis(name: str, genesis: Genesis, network_id: int | None = None) -> ExpectedChain:
    """The chain of a genesis file."""
    own_id = network_id or genesis.spec.chain_id or 1
    return ExpectedChain(name, own_id, genesis.header.hash, _dao_fork(genesis.spec))


def networks_of(status: Status) -> list[Network]:
    """The built-in networks that a Status fits; mainnet and classic share network id and genesis."""
    return [found for found in networks_of_genesis(status.genesis_hash) if found.network_id == status.network_id]


def networks_of_genesis(genesis_hash: BlockHash) -> list[Network]:
    return [found for found in map(network, NETWORK_NAMES) if found.genesis_hash == genesis_hash]


def disputed_dao_fork(status: Status) -> DaoFork | None:
    """The DAO fork that a peer with this Status may be on either side of."""
    for found in networks_of(status):
        fork = _dao_fork(found.spec)
        if fork is not None:
            return DaoFork(fork.block, None)
    return None


def network_in_words(status: Status) -> str:
    """The network of a Status, named where it is built in."""
    fitting = networks_of(status)
    if fitting:
        return f"{' or '.join(found.name for found in fitting)} (network id {status.network_id})"
    same_genesis = [found.name for found in networks_of_genesis(status.genesis_hash)]
    if same_genesis:
        return f"network id {status.network_id} with the genesis of {' or '.join(same_genesis)}"
    same_id = [found.name for found in map(network, NETWORK_NAMES) if found.network_id == status.network_id]
    of = f", that of {' or '.join(same_id)}," if same_id else ""
    return f"network id {status.network_id}{of} with the unknown genesis 0x{status.genesis_hash.hex()}"


def side_in_words(status: Status, *, supports: bool) -> str:
    """The name of the chain on one side of the DAO fork."""
    names = [found.name for found in networks_of(status) if found.spec.dao_fork_support == supports]
    return names[0] if names else "another chain"


def _dao_fork(spec: ChainSpec) -> DaoFork | None:
    return None if spec.dao_fork_block is None else DaoFork(spec.dao_fork_block, spec.dao_fork_support)
