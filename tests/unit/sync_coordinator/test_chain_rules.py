"""One broken field at a time on real headers: each is refused by the rule that owns it."""

import pytest

from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.chain_rules import ChainRules, RuleBroken
from services.sync_coordinator.core.fork_eras import DAO_EXTRA_DATA
from tests.support.chain_vectors import pairs_of


def child_at(name, number):
    return next((parent, child) for parent, child in pairs_of(name) if child.number == number)


def broken_rule(name, parent, child, now=None):
    with pytest.raises(RuleBroken) as caught:
        ChainRules(network(name).spec).check_header(child, parent, now=now)
    assert (caught.value.number, caught.value.block_hash) == (child.number, child.hash)
    return caught.value.rule


ETHASH_MUTATIONS = [
    ("parent", lambda parent, child: {"parent_hash": child.hash}),
    ("number", lambda parent, child: {"number": child.number + 1}),
    ("number", lambda parent, child: {"number": 2**64 - 1}),
    ("number", lambda parent, child: {"number": parent.number}),
    ("timestamp", lambda parent, child: {"timestamp": parent.timestamp}),
    ("timestamp", lambda parent, child: {"timestamp": 0}),
    ("extra-data", lambda parent, child: {"extra_data": bytes(33)}),
    ("gas-used", lambda parent, child: {"gas_used": child.gas_limit + 1}),
    ("gas-limit", lambda parent, child: {"gas_limit": parent.gas_limit + parent.gas_limit // 1024}),
    ("gas-limit", lambda parent, child: {"gas_limit": parent.gas_limit - parent.gas_limit // 1024, "gas_used": 0}),
    ("gas-limit", lambda parent, child: {"gas_limit": 4999, "gas_used": 0}),
    ("gas-limit", lambda parent, child: {"gas_limit": 2**63}),
    ("difficulty", lambda parent, child: {"difficulty": child.difficulty + 1}),
    ("difficulty", lambda parent, child: {"difficulty": child.difficulty - 1}),
    ("difficulty", lambda parent, child: {"difficulty": 0}),
    (
        "difficulty",
        lambda parent, child: {
            "timestamp": parent.timestamp + (1 if child.timestamp - parent.timestamp > 12 else 10_000)
        },
    ),
]


@pytest.mark.parametrize("number", [97, 1_000_010, 1_920_005, 2_463_413, 2_675_001, 4_400_001])
@pytest.mark.parametrize(("rule", "change"), ETHASH_MUTATIONS)
def test_changed_field_breaks_its_rule_on_mainnet(number, rule, change):
    candidates = [(parent, child) for parent, child in pairs_of("mainnet") if abs(child.number - number) < 200_000]
    parent, child = min(candidates, key=lambda pair: abs(pair[1].number - number))
    assert broken_rule("mainnet", parent, with_hash(child._replace(**change(parent, child)))) == rule


def test_base_fee_before_london_is_refused():
    parent, child = child_at("mainnet", 1_000_010)
    assert broken_rule("mainnet", parent, with_hash(child._replace(base_fee=7))) == "base-fee"


LONDON_MUTATIONS = [
    ("base-fee", lambda parent, child: {"base_fee": None}),
    ("base-fee", lambda parent, child: {"base_fee": child.base_fee + 1}),
    ("gas-limit", lambda parent, child: {"gas_limit": parent.gas_limit + parent.gas_limit // 1024}),
    ("difficulty", lambda parent, child: {"difficulty": child.difficulty + 2048}),
]


@pytest.mark.parametrize(("rule", "change"), LONDON_MUTATIONS)
def test_changed_field_breaks_its_rule_after_london(rule, change):
    parent, child = pairs_of("sepolia")[-1]
    assert broken_rule("sepolia", parent, with_hash(child._replace(**change(parent, child)))) == rule


def test_block_may_be_fifteen_seconds_ahead_of_the_clock_and_no_more():
    parent, child = child_at("mainnet", 1_000_010)
    rules = ChainRules(network("mainnet").spec)
    rules.check_header(child, parent, now=child.timestamp - 15)
    rules.check_header(child, parent, now=child.timestamp - 15.0)
    assert broken_rule("mainnet", parent, child, now=child.timestamp - 15.5) == "timestamp-future"


@pytest.mark.parametrize("number", range(1_920_000, 1_920_010))
def test_dao_supporters_need_the_extra_data_in_all_ten_blocks(number):
    parent, child = child_at("mainnet", number)
    assert child.extra_data == DAO_EXTRA_DATA
    plain = with_hash(child._replace(extra_data=b""))
    assert broken_rule("mainnet", parent, plain) == "dao-extra-data"


def test_dao_extra_data_is_free_after_the_tenth_block():
    parent, child = child_at("mainnet", 1_920_010)
    ChainRules(network("mainnet").spec).check_header(with_hash(child._replace(extra_data=b"")), parent, now=None)


def test_dao_opponents_refuse_the_supporters_block_and_the_other_way_round():
    parent, supporters = child_at("mainnet", 1_920_000)
    _, opponents = child_at("classic", 1_920_000)
    assert supporters.parent_hash == opponents.parent_hash == parent.hash
    assert broken_rule("classic", parent, supporters) == "dao-extra-data"
    assert broken_rule("mainnet", parent, opponents) == "dao-extra-data"


def test_eip150_block_must_have_the_networks_hash():
    parent, child = child_at("mainnet", 97)
    spec = ChainSpec(chain_id=1, eip150_block=97, eip150_hash=child.hash)
    ChainRules(spec).check_header(child, parent, now=None)
    other = with_hash(child._replace(coinbase=bytes(20)))
    with pytest.raises(RuleBroken, match="fork-hash"):
        ChainRules(spec).check_header(other, parent, now=None)


def test_eip150_hash_binds_only_its_own_block():
    parent, child = child_at("mainnet", 98)
    ChainRules(ChainSpec(chain_id=1, eip150_block=97, eip150_hash=bytes(32))).check_header(child, parent, now=None)


def test_error_text_names_block_rule_and_numbers():
    parent, child = child_at("mainnet", 97)
    bad = with_hash(child._replace(difficulty=5))
    with pytest.raises(RuleBroken) as caught:
        ChainRules(network("mainnet").spec).check_header(bad, parent, now=None)
    short_hash = bad.hash.hex()[:8]
    assert str(caught.value) == f"block 97 0x{short_hash}…: difficulty: is 5, must be {child.difficulty}"


CLIQUE_MUTATIONS = [
    ("parent", {"parent_hash": bytes(32)}),
    ("number", {"number": 9}),
    ("vote", {"nonce": b"\1" * 8}),
    ("extra-data", {"extra_data": bytes(96)}),
    ("extra-data", {"extra_data": bytes(32 + 20 + 65)}),
    ("mix-hash", {"mix_hash": b"\1" * 32}),
    ("uncles", {"uncles_hash": bytes(32)}),
    ("difficulty", {"difficulty": 0}),
    ("difficulty", {"difficulty": 3}),
    ("base-fee", {"base_fee": 7}),
]


@pytest.mark.parametrize(("rule", "change"), CLIQUE_MUTATIONS)
def test_changed_field_breaks_its_rule_on_goerli(rule, change):
    parent, child = child_at("goerli", 3)
    assert broken_rule("goerli", parent, with_hash(child._replace(**change))) == rule


def test_clique_block_comes_at_least_a_period_after_its_parent():
    parent, child = child_at("goerli", 3)
    rules = ChainRules(network("goerli").spec)
    rules.check_header(with_hash(child._replace(timestamp=parent.timestamp + 15)), parent, now=None)
    early = with_hash(child._replace(timestamp=parent.timestamp + 14))
    assert broken_rule("goerli", parent, early) == "timestamp"


def test_clique_block_may_not_be_ahead_of_the_clock():
    parent, child = child_at("goerli", 3)
    assert broken_rule("goerli", parent, child, now=child.timestamp - 0.5) == "timestamp-future"


def test_clique_has_no_gas_limit_rule_before_london():
    parent, child = child_at("goerli", 3)
    wild = with_hash(child._replace(gas_limit=2 * parent.gas_limit))
    ChainRules(network("goerli").spec).check_header(wild, parent, now=None)


def checkpoint_pair():
    """A goerli pair under rules that make the child a checkpoint with one signer."""
    parent, child = child_at("goerli", 3)
    spec = ChainSpec(chain_id=5, seal_engine="clique", clique_period_s=15, clique_epoch_blocks=3)
    return ChainRules(spec), parent, with_hash(child._replace(extra_data=bytes(32 + 20 + 65)))


def test_clique_checkpoint_lists_signers():
    rules, parent, child = checkpoint_pair()
    rules.check_header(child, parent, now=None)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("vote", {"coinbase": b"\1" * 20}),
        ("vote", {"nonce": b"\xff" * 8}),
        ("extra-data", {"extra_data": bytes(32 + 19 + 65)}),
    ],
)
def test_clique_checkpoint_with_a_vote_or_a_torn_list_is_refused(rule, change):
    rules, parent, child = checkpoint_pair()
    with pytest.raises(RuleBroken) as caught:
        rules.check_header(with_hash(child._replace(**change)), parent, now=None)
    assert caught.value.rule == rule


def test_clique_base_fee_and_gas_limit_hold_from_london_on():
    parent, child = child_at("goerli", 3)
    rules = ChainRules(ChainSpec(chain_id=5, seal_engine="clique", clique_period_s=15, london_block=3))
    first = with_hash(child._replace(gas_limit=2 * parent.gas_limit, base_fee=10**9))
    rules.check_header(first, parent, now=None)
    with pytest.raises(RuleBroken, match="gas-limit"):
        rules.check_header(with_hash(first._replace(gas_limit=parent.gas_limit)), parent, now=None)
    starved = parent._replace(gas_limit=0, base_fee=1)
    with pytest.raises(RuleBroken, match="gas-limit"):
        rules.check_header(first, starved, now=None)


def test_first_proof_of_stake_header_is_named_as_such_on_a_clique_network():
    parent, child = pairs_of("goerli")[0]
    later = with_hash(child._replace(difficulty=0, extra_data=b"", nonce=bytes(8)))
    with pytest.raises(RuleBroken) as caught:
        ChainRules(network("goerli").spec).check_header(later, parent, now=None)
    assert caught.value.rule == "difficulty"
    assert caught.value.detail == "is 0, must be 1 or 2: proof-of-stake blocks are not supported"
