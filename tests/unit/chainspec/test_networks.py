import zlib

import pytest

from services.shared.chainspec.networks import NETWORK_NAMES, UnknownNetwork, network
from services.shared.chainspec.spec import FORK_ORDER
from services.shared.ethwire.bodies import join_block
from tests.support.vectors import load_vectors

FORK_IDS = load_vectors("chainspec/fork_ids.json")
"""By network: (head, checksum of the forks passed, next fork), EIP-2124."""

FORK_FIELDS = (*FORK_ORDER, "dao_fork_block", "eip158_block", "merge_netsplit_block")

GENESIS_HASHES = {
    "mainnet": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
    "ropsten": "41941023680923e0fe4d74a34bdac8141f2540e3ae90623718e47d66d1ca4a2d",
    "rinkeby": "6341fd3daf94b748c72ced5a5b26028f2474f5f00d824504e4fa37a75767e177",
    "goerli": "bf7e331f7f7c1dd2e05159666b3bf8bc7a8a3a9eb1d518969eab529dd9b88c1a",
    "sepolia": "25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9",
    "classic": "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
    "mordor": "a68ebde7932eccb177d38d55dcc6461a019dd795a681e59b5a3e4f3a7259a3f1",
}
NETWORK_IDS = {"mainnet": 1, "ropsten": 3, "rinkeby": 4, "goerli": 5, "sepolia": 11155111, "classic": 1, "mordor": 7}
CHAIN_IDS = {"mainnet": 1, "ropsten": 3, "rinkeby": 4, "goerli": 5, "sepolia": 11155111, "classic": 61, "mordor": 63}


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_genesis_hash_is_computed_from_the_allocation(name):
    builtin = network(name)
    assert builtin.genesis.header.hash.hex() == GENESIS_HASHES[name]
    assert builtin.genesis_hash == builtin.genesis.header.hash
    assert builtin.genesis.spec == builtin.spec


def test_mainnet_genesis_is_the_published_block():
    published = load_vectors("chainspec/genesishashestest.json")
    header = network("mainnet").genesis.header
    assert header.state_root.hex() == published["genesis_state_root"]
    assert header.hash.hex() == published["genesis_hash"]
    assert join_block(header.header_rlp, b"\xc2\xc0\xc0").hex() == published["genesis_rlp_hex"]


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_network_has_its_ids_and_boot_nodes(name):
    builtin = network(name)
    assert (builtin.network_id, builtin.spec.chain_id) == (NETWORK_IDS[name], CHAIN_IDS[name])
    assert len({node.node_id for node in builtin.boot_nodes}) == len(builtin.boot_nodes) > 0


def test_mainnet_schedule_is_complete():
    spec = network("mainnet").spec
    assert [
        spec.homestead_block,
        spec.dao_fork_block,
        spec.eip150_block,
        spec.eip155_block,
        spec.byzantium_block,
        spec.constantinople_block,
        spec.istanbul_block,
        spec.muir_glacier_block,
        spec.berlin_block,
        spec.london_block,
        spec.arrow_glacier_block,
        spec.gray_glacier_block,
    ] == [
        1_150_000,
        1_920_000,
        2_463_000,
        2_675_000,
        4_370_000,
        7_280_000,
        9_069_000,
        9_200_000,
        12_244_000,
        12_965_000,
        13_773_000,
        15_050_000,
    ]
    assert spec.dao_fork_support
    assert spec.terminal_total_difficulty == 58_750_000_000_000_000_000_000


@pytest.mark.parametrize("name", FORK_IDS)
def test_fork_blocks_are_those_of_the_published_fork_ids(name):
    builtin = network(name)
    forks = sorted({getattr(builtin.spec, field) or 0 for field in FORK_FIELDS} - {0})
    for head, fork_id, following in FORK_IDS[name]:
        passed = [fork for fork in forks if fork <= head]
        checksum = zlib.crc32(b"".join([builtin.genesis_hash, *(fork.to_bytes(8) for fork in passed)]))
        assert f"0x{checksum:08x}" == fork_id, head
        assert following in (0, *forks[len(passed) : len(passed) + 1]), head


def test_classic_differs_from_mainnet_from_the_dao_fork_on():
    spec = network("classic").spec
    assert (spec.dao_fork_block, spec.dao_fork_support) == (1_920_000, False)
    assert (spec.eip150_block, spec.eip155_block, spec.eip158_block) == (2_500_000, 3_000_000, 8_772_000)
    assert (spec.ecip1010_block, spec.ecip1010_length, spec.ecip1041_block) == (3_000_000, 2_000_000, 5_900_000)
    assert (spec.byzantium_block, spec.ecip1099_block, spec.london_block) == (8_772_000, 11_700_000, None)


def test_clique_networks_have_their_period_and_epoch():
    for name in ("rinkeby", "goerli"):
        spec = network(name).spec
        assert (spec.seal_engine, spec.clique_period_s, spec.clique_epoch_blocks) == ("clique", 15, 30_000)


def test_unknown_network_is_refused_with_the_names_that_exist():
    with pytest.raises(UnknownNetwork, match=r"unknown network 'mainnnet'; built in are mainnet, ropsten"):
        network("mainnnet")
