import pytest

from services.shared.chainspec.genesis_config import spec_from_config
from services.shared.chainspec.json_fields import JsonFields
from services.shared.chainspec.spec import ChainSpec


def spec_of(**config):
    return spec_from_config(JsonFields("g.json", "config", {"chainId": 9, **config}))


def test_geth_names_set_their_forks():
    spec = spec_of(homesteadBlock=1, daoForkBlock=2, daoForkSupport=True, eip150Block=3, eip150Hash="0x" + "ab" * 32)
    assert (spec.homestead_block, spec.dao_fork_block, spec.dao_fork_support, spec.eip150_block) == (1, 2, True, 3)
    assert spec.eip150_hash == b"\xab" * 32


def test_zero_fork_hash_means_none():
    assert spec_of(eip150Hash="0x" + "00" * 32).eip150_hash is None


def test_classic_names_set_the_same_rules():
    spec = spec_of(classicForkBlock=1, dieHardBlock=3, gothamBlock=8, atlantisBlock=10, aghartaBlock=11)
    assert (spec.dao_fork_block, spec.dao_fork_support) == (1, False)
    assert (spec.ecip1010_block, spec.ecip1010_length) == (3, 5)
    assert (spec.byzantium_block, spec.ecip1041_block) == (10, 10)
    assert (spec.constantinople_block, spec.petersburg_block) == (11, 11)


def test_petersburg_alone_brings_constantinoples_bomb_delay():
    assert spec_of(petersburgBlock=4).constantinople_block == 4


def test_clique_config_chooses_the_seal_engine():
    spec = spec_of(clique={"period": 5, "epoch": 100})
    assert (spec.seal_engine, spec.clique_period_s, spec.clique_epoch_blocks) == ("clique", 5, 100)
    besu = spec_of(clique={"blockperiodseconds": 2, "epochlength": 10})
    assert (besu.clique_period_s, besu.clique_epoch_blocks) == (2, 10)
    assert spec_of(clique={}).clique_epoch_blocks == 30_000
    assert spec_of(ethash={}).seal_engine == "ethash"


def test_fixed_difficulty_is_read():
    assert spec_of(ethash={"fixeddifficulty": 100}).fixed_difficulty == 100


def test_forks_out_of_order_are_refused():
    with pytest.raises(ValueError, match="london_block=3 comes before berlin_block=4"):
        ChainSpec(chain_id=1, berlin_block=4, london_block=3)
