import pytest

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.chain_rules import AncestorBlock, ChainRules, RuleBroken
from tests.support.chain_vectors import headers_of

SPEC = ChainSpec(chain_id=1)
RULES = ChainRules(SPEC)


def child_of(parent, extra_data=b""):
    """A valid child, told apart from its siblings by its extra-data."""
    timestamp = parent.timestamp + 10
    return with_hash(
        parent._replace(
            parent_hash=parent.hash,
            number=parent.number + 1,
            timestamp=timestamp,
            difficulty=RULES.expected_difficulty(parent, timestamp),
            extra_data=extra_data,
        )
    )


def chain_of(length):
    """`length` headers, each the child of the one before."""
    headers = [next(header for header in headers_of("mainnet") if header.number == 97)]
    while len(headers) < length:
        headers.append(child_of(headers[-1]))
    return headers


CHAIN = chain_of(12)
BLOCK = CHAIN[-1]


def ancestors(named=None):
    """The block's ancestors, its parent first; `named` maps a generation to the uncles it named."""
    named = named or {}
    return [AncestorBlock(header, named.get(age, ())) for age, header in enumerate(CHAIN[-2::-1], start=1)]


def uncle_of_generation(generation, extra_data=b"uncle"):
    """An uncle whose parent is `generation` blocks before the block."""
    return child_of(CHAIN[-1 - generation], extra_data)


def reason(uncles, family=None, block=BLOCK):
    with pytest.raises(RuleBroken) as caught:
        RULES.check_uncles(block, uncles, ancestors() if family is None else family)
    assert (caught.value.rule, caught.value.number, caught.value.block_hash) == ("uncles", block.number, block.hash)
    return caught.value.detail


def test_block_without_uncles_passes():
    RULES.check_uncles(BLOCK, [], [])


@pytest.mark.parametrize("generation", range(2, 8))
def test_uncle_passes_when_its_parent_is_two_to_seven_generations_back(generation):
    RULES.check_uncles(BLOCK, [uncle_of_generation(generation)], ancestors())


@pytest.mark.parametrize("generation", [1, 8, 9])
def test_uncle_is_refused_when_its_parent_is_nearer_or_farther(generation):
    assert "no parent among the ancestors" in reason([uncle_of_generation(generation)])


def test_two_uncles_pass_and_three_do_not():
    uncles = [uncle_of_generation(2), uncle_of_generation(3), uncle_of_generation(4)]
    RULES.check_uncles(BLOCK, uncles[:2], ancestors())
    assert reason(uncles) == "names 3, at most 2"


def test_same_uncle_twice_is_refused():
    uncle = uncle_of_generation(2)
    assert "was named before" in reason([uncle, uncle])


@pytest.mark.parametrize("age", range(1, 7))
def test_uncle_that_a_recent_ancestor_named_is_refused(age):
    uncle = uncle_of_generation(7)
    assert "was named before" in reason([uncle], ancestors({age: (uncle.hash,)}))


@pytest.mark.parametrize("age", range(1, 7))
def test_ancestor_as_uncle_is_refused(age):
    assert "or an ancestor" in reason([CHAIN[-1 - age]])


def test_block_as_its_own_uncle_is_refused():
    assert "is the block itself" in reason([BLOCK])


def test_unknown_parent_is_refused():
    uncle = with_hash(uncle_of_generation(2)._replace(parent_hash=bytes(32)))
    assert "no parent among the ancestors" in reason([uncle])


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("difficulty", {"difficulty": 131_072}),
        ("number", {"number": 5}),
        ("timestamp", {"timestamp": 1}),
        ("gas-used", {"gas_used": 2**40}),
        ("extra-data", {"extra_data": bytes(33)}),
    ],
)
def test_uncle_with_a_bad_header_is_refused_with_its_rule(rule, changes):
    uncle = with_hash(uncle_of_generation(3)._replace(**changes))
    assert f": {rule}: " in reason([uncle])


def test_uncle_from_the_future_passes():
    parent = CHAIN[-4]
    timestamp = 2**40
    uncle = child_of(parent)._replace(timestamp=timestamp, difficulty=RULES.expected_difficulty(parent, timestamp))
    RULES.check_uncles(BLOCK, [with_hash(uncle)], ancestors())


def test_uncle_at_the_eip150_block_may_have_another_hash():
    uncle = uncle_of_generation(3)
    spec = ChainSpec(chain_id=1, eip150_block=uncle.number, eip150_hash=bytes(32))
    ChainRules(spec).check_uncles(BLOCK, [uncle], ancestors())


def test_only_seven_ancestors_count_when_more_are_given():
    assert len(ancestors()) > 7
    old = uncle_of_generation(8)
    assert "no parent" in reason([old])


def test_clique_block_may_have_no_uncles():
    rules = ChainRules(ChainSpec(chain_id=1, seal_engine="clique"))
    with pytest.raises(RuleBroken, match="a clique block has none"):
        rules.check_uncles(BLOCK, [uncle_of_generation(2)], ancestors())
