"""The published blockchain tests, imported block by block: seals, bodies, uncles, fork choice and a real store.

`left_out.json` names every block that this cannot judge, because its transactions would have to be executed or
because it is proof-of-stake. All else must be judged as the files say.
"""

from __future__ import annotations

import pytest

from services.shared.ethwire.bodies import split_block
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from tests.support.published_blocks import (
    CONSTANTINOPLE,
    TRANSITION,
    PublishedCase,
    Verdicts,
    fault_of_bytes,
    judge,
    published_cases,
)
from tests.support.vectors import load_vectors

LEFT_OUT = load_vectors("blockchain_tests/left_out.json")
BY_EXECUTION = {name: indexes for group in LEFT_OUT["execution"].values() for name, indexes in group.items()}
AFTER_THE_MERGE = LEFT_OUT["proof_of_stake"]
FROM_PROOF_OF_STAKE = LEFT_OUT["starts_as_proof_of_stake"]

ALL_CASES = {case.name: case for archive in (CONSTANTINOPLE, TRANSITION) for case in published_cases(archive)}
BLOCKS_ALONE = [case for case in ALL_CASES.values() if case.genesis_rlp is None]
CHAINS = [case for case in ALL_CASES.values() if case.genesis_rlp is not None and case.name not in FROM_PROOF_OF_STAKE]
FOLDERS = sorted({case.name.partition("/")[0] for case in CHAINS})

RULES_OF_FAULT = {
    "ExtraDataTooBig": {"extra-data"},
    "InvalidDifficulty": {"difficulty", "uncles"},
    "InvalidGasLimit": {"gas-limit", "uncles"},
    "InvalidNumber": {"number", "uncles"},
    "InvalidTimestamp": {"timestamp", "uncles"},
    "TooMuchGasUsed": {"gas-used", "uncles"},
    "UnknownParent": {"parent"},
    "InvalidTransactionsRoot": {"transactions-root"},
    "InvalidUnclesHash": {"uncles-hash"},
    "InvalidUncleParentHash": {"uncles"},
    "InvalidBlockNonce": {"uncles"},
    "UncleInChain": {"uncles"},
    "UncleIsBrother": {"uncles"},
    "UncleTooOld": {"uncles"},
    "TooManyUncles": {"uncles"},
    "BlockException.INVALID_DIFFICULTY": {"difficulty"},
    "BlockException.IMPORT_IMPOSSIBLE_PARIS_WRONG_POS": {"difficulty"},
    "BlockException.IMPORT_IMPOSSIBLE_PARIS_WRONG_POW": {"terminal-total-difficulty"},
    "BlockException.INVALID_GASLIMIT": {"gas-limit"},
    "BlockException.IMPORT_IMPOSSIBLE_LEGACY": {"base-fee"},
    "BlockException.IMPORT_IMPOSSIBLE_LEGACY_WRONG_PARENT": {"base-fee", "uncles"},
    "BlockException.IMPORT_IMPOSSIBLE_LONDON_WRONG_PARENT": {"base-fee", "uncles"},
    "BlockException.UNCLE_PARENT_INCORRECT": {"uncles"},
    "BlockException.UNKNOWN_PARENT": {"parent"},
    "BlockException.EXTRA_DATA_INVALID_DAO": {"dao-extra-data", "transactions-root", "uncles"},
    "TransactionException.TYPE_NOT_SUPPORTED": {"transactions-root"},
    "TransactionException.INSUFFICIENT_MAX_FEE_PER_GAS": {"transactions-root"},
    "TransactionException.INTRINSIC_GAS_TOO_LOW": {"transactions-root"},
    "unnamed": {"extra-data", "uncles", "uncles-hash"},
}
"""What the tests call a fault, and the rules by which such blocks are refused."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_block_is_judged_and_the_last_block_is_chosen_as_published(tmp_path, folder):
    cases = [case for case in CHAINS if case.name.startswith(f"{folder}/") and case.name not in AFTER_THE_MERGE]
    wrong: list[object] = []
    for number, case in enumerate(cases):
        left_out = BY_EXECUTION.get(case.name, ())
        verdicts = judge(case, tmp_path / str(number), left_out)
        wrong += [
            (case.name, *misjudged) for misjudged in misjudgements(case, verdicts) if misjudged[0] not in left_out
        ]
        if verdicts.last_hash != case.last_hash:
            wrong.append((case.name, "last block"))
    assert wrong == []


def misjudgements(case: PublishedCase, verdicts: Verdicts) -> list[tuple[int, str | None, str | None]]:
    """(index, what the file says, what we say) of each block of which they differ."""
    return [
        (index, block.fault, rule)
        for index, (block, rule) in enumerate(zip(case.blocks, verdicts.rules, strict=True))
        if not (rule is None if block.fault is None else rule in RULES_OF_FAULT.get(block.fault, ()))
    ]


@pytest.mark.parametrize("name", BY_EXECUTION)
def test_block_left_out_for_its_execution_keeps_every_other_rule(tmp_path, name):
    case = ALL_CASES[name]
    verdicts = judge(case, tmp_path / "chain")
    for index in BY_EXECUTION[name]:
        assert case.blocks[index].fault is not None
        assert verdicts.rules[index] is None


@pytest.mark.parametrize("name", AFTER_THE_MERGE)
def test_chain_is_taken_up_to_its_last_block_before_proof_of_stake(tmp_path, name):
    case, later = ALL_CASES[name], AFTER_THE_MERGE[name]
    verdicts = judge(case, tmp_path / "chain")
    assert [found for found in misjudgements(case, verdicts) if found[0] not in later] == []
    assert [verdicts.rules[index] for index in later] == ["difficulty"] + ["parent"] * (len(later) - 1)
    header_rlp, _ = split_block(case.blocks[later[0]].rlp)
    assert decode_header(header_rlp).parent_hash == verdicts.last_hash


@pytest.mark.parametrize("name", FROM_PROOF_OF_STAKE)
def test_chain_that_starts_as_proof_of_stake_is_not_begun(tmp_path, name):
    case = ALL_CASES[name]
    assert case.genesis_rlp is not None
    try:
        verdicts = judge(case, tmp_path / "chain")
    except MalformedRlp:
        return
    assert None not in verdicts.rules


def test_every_block_of_broken_bytes_is_refused():
    assert [case.name for case in BLOCKS_ALONE if any(fault_of_bytes(block.rlp) is None for block in case.blocks)] == []


def test_nothing_is_left_out_but_what_is_listed():

    assert (len(ALL_CASES), len(BLOCKS_ALONE), len(CHAINS)) == (884, 115, 753)
    assert sum(len(case.blocks) for case in CHAINS) == 2496
    assert {reason: len(group) for reason, group in LEFT_OUT["execution"].items()} == {
        "state root after the block": 31,
        "receipts and their bloom": 14,
        "gas used by the block": 16,
        "whether the sender may send the transaction": 1,
    }
    assert sum(len(indexes) for indexes in BY_EXECUTION.values()) == 62
    assert (len(AFTER_THE_MERGE), len(FROM_PROOF_OF_STAKE)) == (3, 16)
    assert {*BY_EXECUTION, *AFTER_THE_MERGE, *FROM_PROOF_OF_STAKE} <= set(ALL_CASES)
