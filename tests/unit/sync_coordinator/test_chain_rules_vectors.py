"""Whole chains and real headers: what their networks accepted must pass."""

from pathlib import Path

import pytest

from services.shared.chainspec.genesis import genesis_from_json
from services.shared.chainspec.networks import network
from services.shared.ethwire.bodies import uncle_headers
from services.shared.ethwire.headers import decode_header, encode_header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.store.dumps import read_chain_file
from tests.support.chain_vectors import ChainWalk, headers_of, load_gz, pairs_of, vector_blocks
from tests.support.vectors import VECTORS

WHOLE_CHAINS = load_gz("chain_rules/whole_chains.json.gz")
MAINNET_ERA = Path(__file__).parents[3] / "data" / "mainnet-00000-5ec1ffb8.era1"


@pytest.mark.parametrize("chain", WHOLE_CHAINS, ids=lambda chain: chain["name"])
def test_whole_chain_passes_up_to_proof_of_stake(chain):
    genesis = genesis_from_json("genesis", chain["genesis"])
    walk = ChainWalk(ChainRules(genesis.spec), genesis.header)
    for block in vector_blocks(chain["blocks"]):
        if block.header.difficulty == 0:
            assert walk.broken_rule(block.header, block.uncles) == "difficulty"
            break
        assert walk.broken_rule(block.header, block.uncles) is None


@pytest.mark.parametrize("name", ["mainnet", "classic", "sepolia", "goerli"])
def test_real_header_passes_after_its_real_parent(name):
    rules = ChainRules(network(name).spec)
    pairs = pairs_of(name)
    assert pairs
    for parent, child in pairs:
        rules.check_header(child, parent, now=child.timestamp)


@pytest.mark.parametrize("name", ["mainnet", "sepolia", "goerli", "ropsten"])
def test_real_block_one_passes_after_the_built_in_genesis(name):
    builtin = network(name)
    first = next(header for header in headers_of(name) if header.number == 1)
    ChainRules(builtin.spec).check_header(first, builtin.genesis.header, now=None)


def test_real_blocks_with_transactions_and_uncles_pass_one_after_the_other():
    blocks = list(read_chain_file(VECTORS / "chains/besu-46350-46399.blocks"))
    first, *headers = (decode_header(block.header_rlp) for block in blocks)
    walk = ChainWalk(ChainRules(network("mainnet").spec), first)
    assert [walk.broken_rule(header, ()) for header in headers] == [None] * 49


@pytest.mark.parametrize("name", ["mainnet", "classic", "sepolia", "goerli", "ropsten"])
def test_real_header_is_written_back_unchanged(name):
    for header in headers_of(name):
        assert encode_header(header) == header.header_rlp


def test_first_mainnet_era_passes_with_all_its_uncles():
    builtin = network("mainnet")
    walk = ChainWalk(ChainRules(builtin.spec), builtin.genesis.header)
    (first, _), *blocks = (
        (decode_header(block.header_rlp), uncle_headers(block.body_rlp)) for block in read_chain_file(MAINNET_ERA)
    )
    assert first == builtin.genesis.header
    assert [header.number for header, uncles in blocks if walk.broken_rule(header, uncles) is not None] == []
    assert (len(blocks), sum(len(uncles) for _, uncles in blocks)) == (8191, 1410)
