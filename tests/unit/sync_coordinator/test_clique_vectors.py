"""Clique headers of public networks and of other clients' test chains."""

from __future__ import annotations

import itertools

import pytest

from services.shared.chainspec.genesis import load_genesis
from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import decode_header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.clique_seal import recover_signer
from services.sync_coordinator.core.clique_snapshot import genesis_snapshot
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.store.dumps import read_chain_file
from tests.support.chain_vectors import headers_of
from tests.support.vectors import VECTORS, load_vectors

CLIQUE = VECTORS / "clique"
REAL = {
    header.number: header
    for row in load_vectors("clique/headers.json")
    for header in [decode_header(bytes.fromhex(row["header"]))]
}

GOERLI_FIRST_SIGNER = bytes.fromhex("e0a2bd4258d2768837baa26a28fe71dc079f84c7")
GOERLI_LATER_SIGNER = bytes.fromhex("8b24eb4e6aae906058242d83e51fb077370c4720")
RINKEBY_SIGNER = bytes.fromhex("b279182d99e65703f0076e4812653aab85fca0f0")


def judged(spec: ChainSpec, headers):
    """The snapshot after `headers`, which begin with a genesis: rules and seals."""
    rules, snapshot = ChainRules(spec), genesis_snapshot(headers[0])
    for parent, header in itertools.pairwise(headers):
        rules.check_header(header, parent, now=4e9)
        snapshot = snapshot.apply(header, recover_signer(header), spec.clique_epoch_blocks)
    return snapshot


def chain_of(name: str):
    return [decode_header(block.header_rlp) for block in read_chain_file(CLIQUE / name)]


def test_first_blocks_of_goerli_are_sealed_by_the_only_signer_of_its_genesis():
    goerli = network("goerli")
    headers = [header for header in headers_of("goerli") if 0 < header.number <= 7]
    assert [header.number for header in headers] == list(range(1, 8))
    snapshot = judged(goerli.genesis.spec, [goerli.genesis.header, *headers])
    assert snapshot.signers == (GOERLI_FIRST_SIGNER,)
    assert (snapshot.number, snapshot.block_hash) == (7, headers[-1].hash)


@pytest.mark.parametrize(
    ("number", "signer"),
    [(1_000_000, GOERLI_LATER_SIGNER), (5_102_442, GOERLI_LATER_SIGNER), (272_621, RINKEBY_SIGNER)],
    ids=["goerli", "goerli-with-base-fee", "rinkeby"],
)
def test_real_seal_leads_to_its_signer(number, signer):
    assert recover_signer(REAL[number]) == signer


def test_rinkebys_signer_is_one_of_its_genesis():
    assert RINKEBY_SIGNER in genesis_snapshot(network("rinkeby").genesis.header).signers


def test_private_chain_of_besu_is_valid_with_base_fees():
    headers = chain_of("besu-private-clique.blocks")
    spec = ChainSpec(chain_id=4, seal_engine="clique", clique_period_s=10, london_block=0)
    snapshot = judged(spec, headers)
    assert snapshot.number == 4
    assert snapshot.signers == (recover_signer(headers[1]),)


def test_chain_of_geth_is_valid_up_to_its_last_total_difficulty_block():
    genesis = load_genesis(CLIQUE / "hive-genesis.json")
    headers = [genesis.header, *chain_of("hive-122.blocks")]
    assert judged(genesis.spec, headers[:120]).number == 119
    assert sum(header.difficulty for header in headers[:120]) == genesis.spec.terminal_total_difficulty
    with pytest.raises(RuleBroken, match="proof-of-stake blocks are not supported"):
        judged(genesis.spec, headers)
