"""The built-in networks, each from its file in `builtin/`; sources in `builtin/SOURCE.md`."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Final

from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.chainspec.genesis import Genesis, genesis_from_json, read_json
from services.shared.chainspec.genesis_config import spec_from_config
from services.shared.chainspec.json_fields import JsonFields
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.types import BlockHash

NETWORK_NAMES: Final = ("mainnet", "ropsten", "rinkeby", "goerli", "sepolia", "classic", "mordor")

_BUILTIN: Final = resources.files("services.shared.chainspec") / "builtin"


class UnknownNetwork(ValueError):
    """A network name that is not built in."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown network {name!r}; built in are {', '.join(NETWORK_NAMES)}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Network:
    """A built-in network. Cheap to look up; only `genesis` reads the allocation."""

    name: str
    network_id: int
    genesis_hash: BlockHash
    spec: ChainSpec
    boot_nodes: tuple[Enode, ...]

    @property
    def genesis(self) -> Genesis:
        """Block 0, its state root computed from the allocation; a quarter of a second for mainnet, once."""
        return _genesis(self.name)


@functools.cache
def network(name: str) -> Network:
    """The built-in network of that name. Raises UnknownNetwork."""
    fields = _fields(name)
    return Network(
        name=name,
        network_id=fields.uint("networkId"),
        genesis_hash=BlockHash(fields.fixed("genesisHash", 32)),
        spec=spec_from_config(fields.section("genesis").section("config")),
        boot_nodes=tuple(parse_enode(url) for url in fields.texts("bootNodes")),
    )


@functools.cache
def _genesis(name: str) -> Genesis:
    fields = _fields(name)
    allocation = fields.text("allocation")
    content = dict(fields.section("genesis").items())
    content["alloc"] = read_json(allocation, (_BUILTIN / allocation).read_bytes())
    genesis = genesis_from_json(f"built-in {name}", content)
    if genesis.header.hash != network(name).genesis_hash:
        raise fields.fault("genesisHash", f"the allocation gives 0x{genesis.header.hash.hex()}")
    return genesis


def _fields(name: str) -> JsonFields:
    if name not in NETWORK_NAMES:
        raise UnknownNetwork(name)
    file = f"{name}.json"
    return JsonFields(f"built-in {file}", "", json.loads((_BUILTIN / file).read_bytes()))
