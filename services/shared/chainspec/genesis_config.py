"""The `config` object of a genesis file to a `ChainSpec`.

The names are geth's. Where besu or core-geth call the same rule by another name, as they do for
Ethereum Classic, that name works too; keys that say nothing about headers are ignored, as in geth.
A file without forks is a chain under Frontier's rules for ever.
"""

from __future__ import annotations

from typing import Final

from services.shared.chainspec.json_fields import GenesisInvalid, JsonFields
from services.shared.chainspec.spec import CLIQUE_EPOCH_BLOCKS, ChainSpec, SealEngine

FORK_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "homestead_block": ("homesteadBlock", "eip2FBlock"),
    "dao_fork_block": ("daoForkBlock", "classicForkBlock"),
    "eip150_block": ("eip150Block", "ecip1015Block"),
    "eip155_block": ("eip155Block", "dieHardBlock"),
    "eip158_block": ("eip158Block", "eip161FBlock", "atlantisBlock"),
    "byzantium_block": ("byzantiumBlock", "eip100FBlock", "atlantisBlock"),
    "constantinople_block": ("constantinopleBlock", "aghartaBlock", "petersburgBlock"),
    "petersburg_block": ("petersburgBlock", "constantinopleFixBlock", "aghartaBlock"),
    "istanbul_block": ("istanbulBlock", "phoenixBlock"),
    "muir_glacier_block": ("muirGlacierBlock",),
    "berlin_block": ("berlinBlock", "magnetoBlock"),
    "london_block": ("londonBlock",),
    "arrow_glacier_block": ("arrowGlacierBlock",),
    "gray_glacier_block": ("grayGlacierBlock",),
    "merge_netsplit_block": ("mergeNetsplitBlock",),
    "ecip1010_block": ("ecip1010PauseBlock", "dieHardBlock"),
    "ecip1017_block": ("ecip1017FBlock", "gothamBlock"),
    "ecip1041_block": ("ecip1041Block", "disposalBlock", "atlantisBlock"),
    "ecip1099_block": ("ecip1099FBlock", "thanosBlock"),
    "mystique_block": ("mystiqueBlock",),
    "spiral_block": ("spiralBlock",),
}
"""Field of `ChainSpec` to the keys that set it; the first one present counts."""


def spec_from_config(config: JsonFields) -> ChainSpec:
    """Raises GenesisInvalid."""
    forks = {field: config.optional_uint(*keys) for field, keys in FORK_KEYS.items()}
    clique = config.section("clique")
    seal_engine: SealEngine = "clique" if "clique" in config else "ethash"
    try:
        return ChainSpec(
            chain_id=config.uint("chainId", bits=256),
            seal_engine=seal_engine,
            clique_period_s=clique.optional_uint("period", "blockPeriodSeconds") or 0,
            clique_epoch_blocks=clique.optional_uint("epoch", "epochLength") or CLIQUE_EPOCH_BLOCKS,
            dao_fork_support=config.flag("daoForkSupport"),
            eip150_hash=_fork_hash(config),
            terminal_total_difficulty=config.optional_uint("terminalTotalDifficulty", bits=256),
            ecip1010_length=_bomb_pause(config, forks),
            fixed_difficulty=config.section("ethash").optional_uint("fixedDifficulty", bits=256),
            **forks,
        )
    except GenesisInvalid:
        raise
    except ValueError as error:
        raise config.fault("", str(error)) from error


def _fork_hash(config: JsonFields) -> bytes | None:
    """The EIP-150 hash; zeros mean that the network names none."""
    fork_hash = config.fixed("eip150Hash", 32)
    return fork_hash if any(fork_hash) else None


def _bomb_pause(config: JsonFields, forks: dict[str, int | None]) -> int:
    """How long the bomb stands still: stated, or from Die Hard to Gotham."""
    length = config.optional_uint("ecip1010Length")
    start, end = forks["ecip1010_block"], forks["ecip1017_block"]
    if length is None and start is not None and end is not None:
        return max(0, end - start)
    return length or 0
