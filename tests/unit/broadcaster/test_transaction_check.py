from __future__ import annotations

from dataclasses import replace

import pytest
import rlp

from services.broadcaster.core.fork_blocks import ForkBlocks
from services.broadcaster.core.transaction import Kind, decode_transaction, raw_of, wire_of
from services.broadcaster.core.transaction_check import (
    GROUP_ORDER,
    Refusal,
    Refused,
    check_transaction,
)
from services.shared.ethwire.bodies import transaction_hash
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES
from tests.support.transactions import CHAIN_ID, RULES, Draft, address_of

LONDON = replace(RULES, has_london=True)
FRONTIER = replace(RULES, has_homestead=False, has_eip155=False, has_istanbul=False, has_berlin=False)


def refusal_of(wire: bytes, rules=RULES, *, is_local: bool = False) -> Refusal:
    with pytest.raises(Refused) as caught:
        check_transaction(wire, rules, is_local=is_local)
    return caught.value.refusal


def refields(draft: Draft, **changes: int | bytes) -> bytes:
    """A legacy transaction with fields changed after it was signed, by their place."""
    fields = rlp.decode(draft.raw())
    for place, value in changes.items():
        fields[int(place[1:])] = value
    return bytes(rlp.encode(fields))


@pytest.mark.parametrize(
    "draft",
    [
        Draft(account=3),
        Draft(account=3, chain_id=None),
        Draft(account=3, kind=1, gas_limit=30_000, access_list=((b"\x01" * 20, (b"\x02" * 32,)),)),
        Draft(account=3, kind=2, tip=7),
        Draft(account=3, data=b"\x00\x01" * 50, gas_limit=60_000),
        Draft(account=3, recipient=b"", gas_limit=60_000),
    ],
)
def test_sender_is_recovered_whatever_the_form(draft):
    transaction, sender = check_transaction(draft.wire(), LONDON)
    assert sender == address_of(3)
    assert transaction.hash == keccak256(draft.raw()) == transaction_hash(draft.wire())
    assert (transaction.nonce, transaction.fee_cap, transaction.gas_limit) == (0, 10**9, draft.gas_limit)
    assert transaction.kind == draft.kind


def test_tip_cap_is_the_price_where_there_is_no_tip():
    assert decode_transaction(Draft(price=9).wire()).tip_cap == 9
    assert decode_transaction(Draft(price=9, kind=2, tip=4).wire()).tip_cap == 4


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_form_of_signers_and_form_of_messages_are_each_other_s_way_back(kind):
    raw = Draft(kind=kind).raw()
    assert raw_of(wire_of(raw)) == raw
    assert (wire_of(raw) == raw) == (kind == 0)


@pytest.mark.parametrize(
    ("wire", "refusal"),
    [
        (b"\x80", Refusal.UNDECODABLE),
        (b"\xc0", Refusal.UNDECODABLE),
        (b"\xc1\x80", Refusal.UNDECODABLE),
        (wire_of(b"\x03" + rlp.encode([1])), Refusal.UNDECODABLE),
        (wire_of(b"\x01"), Refusal.UNDECODABLE),
        (Draft().wire()[:-1], Refusal.UNDECODABLE),
        (Draft().wire() + b"\x00", Refusal.UNDECODABLE),
        (refields(Draft(), f3=b"\x01" * 19), Refusal.UNDECODABLE),
        (refields(Draft(), f0=2**64), Refusal.UNDECODABLE),
        (refields(Draft(), f2=2**64), Refusal.UNDECODABLE),
        (refields(Draft(), f8=b""), Refusal.SIGNATURE),
        (refields(Draft(), f7=GROUP_ORDER), Refusal.SIGNATURE),
        (refields(Draft(), f6=0), Refusal.SIGNATURE),
        (refields(Draft(), f6=26), Refusal.SIGNATURE),
        (refields(Draft(), f6=29), Refusal.SIGNATURE),
        (Draft(chain_id=1).wire(), Refusal.CHAIN_ID),
        (Draft(chain_id=2**200).wire(), Refusal.CHAIN_ID),
        (Draft(kind=1, chain_id=1).wire(), Refusal.CHAIN_ID),
        (Draft(kind=2).wire(), Refusal.TYPE),
        (Draft(data=b"\x01" * MAX_TRANSACTION_BYTES, gas_limit=7_000_000).wire(), Refusal.OVERSIZED),
        (Draft(gas_limit=20_999).wire(), Refusal.INTRINSIC_GAS),
        (Draft(recipient=b"", gas_limit=52_999).wire(), Refusal.INTRINSIC_GAS),
        (Draft(gas_limit=8_000_001).wire(), Refusal.GAS_LIMIT),
        (Draft(price=0).wire(), Refusal.PRICE_FLOOR),
    ],
)
def test_rule_that_is_broken_is_named(wire, refusal):
    assert refusal_of(wire) is refusal


def test_largest_transaction_is_taken_and_one_byte_more_is_not():
    def sized(extra: int) -> bytes:
        return Draft(data=b"\x00" * (MAX_TRANSACTION_BYTES - 200 + extra), gas_limit=7_000_000).wire()

    extra = MAX_TRANSACTION_BYTES - len(sized(0))
    assert len(sized(extra)) == MAX_TRANSACTION_BYTES
    check_transaction(sized(extra), RULES)
    assert refusal_of(sized(extra + 1)) is Refusal.OVERSIZED


def test_tip_above_the_cap_is_refused():
    assert refusal_of(Draft(kind=2, price=5, tip=6).wire(), LONDON) is Refusal.FEE_CAP


def test_tip_counts_for_the_price_floor():
    rules = replace(LONDON, price_floor=5)
    assert refusal_of(Draft(kind=2, price=9, tip=4).wire(), rules) is Refusal.PRICE_FLOOR
    check_transaction(Draft(kind=2, price=9, tip=5).wire(), rules)


def test_price_floor_is_not_for_local_ones():
    check_transaction(Draft(price=0).wire(), RULES, is_local=True)


def test_data_costs_what_the_fork_says():
    draft = Draft(data=b"\x00\x01", gas_limit=21_000 + 4 + 16)
    check_transaction(draft.wire(), RULES)
    assert refusal_of(draft.wire(), replace(RULES, has_istanbul=False)) is Refusal.INTRINSIC_GAS
    check_transaction(Draft(data=b"\x00\x01", gas_limit=21_000 + 4 + 68).wire(), replace(RULES, has_istanbul=False))


def test_creation_costs_more_from_homestead_and_init_code_from_eip_3860():
    draft = Draft(recipient=b"", gas_limit=21_000, chain_id=None)
    check_transaction(draft.wire(), FRONTIER)
    assert refusal_of(draft.wire(), replace(FRONTIER, has_homestead=True)) is Refusal.INTRINSIC_GAS
    with_code = Draft(recipient=b"", data=b"\x01" * 33, gas_limit=53_000 + 33 * 16 + 4)
    check_transaction(with_code.wire(), replace(RULES, has_init_code_gas=True))
    one_less = replace(with_code, gas_limit=with_code.gas_limit - 1)
    assert refusal_of(one_less.wire(), replace(RULES, has_init_code_gas=True)) is Refusal.INTRINSIC_GAS


def test_access_list_costs_gas():
    listed = ((b"\x01" * 20, (b"\x02" * 32, b"\x03" * 32)),)
    check_transaction(Draft(kind=1, access_list=listed, gas_limit=21_000 + 2400 + 3800).wire(), RULES)
    assert refusal_of(Draft(kind=1, access_list=listed, gas_limit=27_199).wire()) is Refusal.INTRINSIC_GAS


def test_chain_ids_are_refused_before_their_fork():
    assert refusal_of(Draft().wire(), replace(RULES, has_eip155=False)) is Refusal.CHAIN_ID


def test_high_s_is_valid_only_in_frontier():
    draft = Draft(chain_id=None)
    fields = rlp.decode(draft.raw())
    mirrored = rlp.encode([*fields[:6], 55 - fields[6][0], fields[7], GROUP_ORDER - int.from_bytes(fields[8])])
    assert refusal_of(mirrored) is Refusal.SIGNATURE
    assert check_transaction(mirrored, FRONTIER).sender == address_of(0)


def test_changed_transaction_has_another_sender():
    assert check_transaction(refields(Draft(), f4=2), RULES).sender != address_of(0)


def test_refusal_says_what_to_do():
    with pytest.raises(Refused, match=r"chain id 5, this network's is 1337; sign it for this network"):
        check_transaction(Draft(chain_id=5).wire(), RULES)
    with pytest.raises(Refused, match=r"gas limit is 20000, and it costs 21000 .* give a gas limit of 21000 or more"):
        check_transaction(Draft(gas_limit=20_000).wire(), RULES)


def test_rules_are_those_of_the_next_block():
    forks = ForkBlocks(chain_id=CHAIN_ID, homestead=0, eip155=5, istanbul=7, berlin=None, london=None)
    before, after = forks.rules_above(3, 99, 1), forks.rules_above(4, 99, 1)
    assert (before.has_homestead, before.has_eip155, after.has_eip155) == (True, False, True)
    assert not forks.rules_above(5, 99, 1).has_istanbul
    assert forks.rules_above(6, 99, 1).has_istanbul
    assert not forks.rules_above(10**9, 99, 1).has_berlin
    assert (after.gas_limit, after.price_floor, after.chain_id) == (99, 1, CHAIN_ID)


def test_kinds_are_those_of_eip_2718():
    assert [Kind.ACCESS_LIST, Kind.DYNAMIC_FEE] == [1, 2]
