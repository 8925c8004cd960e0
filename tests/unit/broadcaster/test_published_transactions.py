"""Every case of the published transaction tests, under the rules of every fork that eth/63 networks have."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Final

import pytest

from services.broadcaster.core.transaction import wire_of
from services.broadcaster.core.transaction_check import PoolRules, Refusal, Refused, check_transaction, intrinsic_gas
from tests.support.vectors import from_hex, vector_bytes

BLOCK_GAS: Final = 2**64 - 1
"""Higher than any gas limit of the cases: that rule is one of blocks."""

LADDER: Final = ("Frontier", "Homestead", "EIP150", "EIP158", "Byzantium", "Constantinople", "ConstantinopleFix")
LATER: Final = ("Istanbul", "Berlin", "London")

CASES: Final = json.loads(gzip.decompress(vector_bytes("transactions/transaction_tests.json.gz")))


def rules_of(fork: str) -> PoolRules:
    height = (*LADDER, *LATER).index(fork)
    return PoolRules(
        chain_id=1,
        gas_limit=BLOCK_GAS,
        price_floor=0,
        has_homestead=height >= 1,
        has_eip155=height >= LADDER.index("EIP158"),
        has_istanbul=fork in LATER,
        has_berlin=fork in LATER[1:],
        has_london=fork in LATER[2:],
    )


def verdict(raw: bytes, fork: str) -> list[str] | Refused:
    rules = rules_of(fork)
    try:
        transaction, sender = check_transaction(wire_of(raw), rules, is_local=True)
    except Refused as refused:
        return refused
    return [f"0x{sender.hex()}", f"0x{transaction.hash.hex()}", hex(intrinsic_gas(transaction, rules))]


def normal(expected: list[str]) -> list[str]:
    return [expected[0].lower(), expected[1].lower(), hex(int(expected[2], 16))]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_transaction_is_valid_exactly_where_it_should_be(case: Mapping[str, object]):
    raw = from_hex(str(case["txbytes"]))
    results = case["result"]
    assert isinstance(results, dict)
    for fork in (*LADDER, *LATER):
        if fork not in results:
            continue
        found, expected = verdict(raw, fork), results[fork]
        if isinstance(found, Refused) and found.refusal is Refusal.OVERSIZED:
            # A rule of pools, not of blocks.
            continue
        if expected is None:
            assert isinstance(found, Refused), (fork, found)
        else:
            assert found == normal(expected), (fork, str(found))


def test_published_transactions_are_many_of_both_kinds():
    verdicts = [result for case in CASES for result in case["result"].values()]
    assert sum(result is None for result in verdicts) > 500
    assert sum(result is not None for result in verdicts) > 200
