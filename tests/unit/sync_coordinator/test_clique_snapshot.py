"""Signers, recents and votes (EIP-225), over headers that are sealed with real keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.clique_codec import decode_snapshot, encode_snapshot
from services.sync_coordinator.core.clique_seal import NO_SIGNER, listed_signers, recover_signer
from services.sync_coordinator.core.clique_shape import ADD_VOTE
from services.sync_coordinator.core.clique_snapshot import SignerSnapshot, genesis_snapshot
from services.sync_coordinator.core.rule_broken import RuleBroken
from tests.support.clique_chain import CliqueMaker, address_of, child_of, clique_genesis, taking_turns
from tests.support.vectors import load_vectors

VOTING = load_vectors("clique/eip225_voting.json")
NAMES = "ABCDEF"
CANDIDATES = st.sampled_from(["", *NAMES])
ABC = clique_genesis("ABC")
ABC_START = genesis_snapshot(ABC.header)
IN_TURN_AT_1 = next(name for name in "ABC" if address_of(name) == ABC_START.signers[1])


def addresses(names: str) -> tuple[bytes, ...]:
    return tuple(sorted(map(address_of, names)))


def replayed(genesis, headers) -> SignerSnapshot:
    """From scratch, with signers recovered from the seals."""
    snapshot = genesis_snapshot(genesis.header)
    for header in headers:
        snapshot = snapshot.apply(header, recover_signer(header), genesis.spec.clique_epoch_blocks)
    return snapshot


def broken_rule(snapshot: SignerSnapshot, header, epoch: int = 30_000) -> str:
    with pytest.raises(RuleBroken) as caught:
        snapshot.apply(header, recover_signer(header), epoch)
    assert "\n" not in str(caught.value)
    return caught.value.rule


@pytest.mark.parametrize("case", VOTING, ids=[f"{index}-{case['case'][:40]}" for index, case in enumerate(VOTING)])
@pytest.mark.parametrize("stored", [False, True], ids=["in-memory", "stored-after-every-block"])
def test_voting_scenario_of_the_eip_ends_as_it_says(case, stored):
    maker = CliqueMaker(clique_genesis(case["signers"], epoch=case["epoch"]))
    for index, block in enumerate(case["blocks"]):
        if stored:
            maker.snapshot = decode_snapshot(encode_snapshot(maker.snapshot))
        signer, sign, about = block[0], block[1:2], block[2:]
        if sign == " ":
            assert maker.snapshot.signers == addresses(block.removeprefix(f"{signer} lists "))
            sign, about = "", ""
        if index == len(case["blocks"]) - 1 and "last_block_breaks" in case:
            with pytest.raises(RuleBroken) as caught:
                maker.grow(signer, about, add=sign == "+")
            assert caught.value.rule == case["last_block_breaks"]
            return
        maker.grow(signer, about, add=sign == "+")
    assert maker.snapshot.signers == addresses(case["result"])


def test_block_by_the_signer_in_turn_has_difficulty_2_and_others_1():
    in_turn = child_of(ABC.header, IN_TURN_AT_1, difficulty=2)
    assert ABC_START.apply(in_turn, recover_signer(in_turn), 30_000).number == 1
    assert broken_rule(ABC_START, child_of(ABC.header, IN_TURN_AT_1, difficulty=1)) == "difficulty"
    other = next(name for name in "ABC" if name != IN_TURN_AT_1)
    assert broken_rule(ABC_START, child_of(ABC.header, other, difficulty=2)) == "difficulty"


def test_seal_by_a_stranger_is_refused():
    assert broken_rule(ABC_START, child_of(ABC.header, "F")) == "signer"


@pytest.mark.parametrize("spoil", [bytes(65), b"\xff" * 65, bytes(64) + b"\x04"])
def test_signature_that_no_key_can_have_made_is_refused(spoil):
    header = child_of(ABC.header, "A")
    header = with_hash(header._replace(extra_data=header.extra_data[:-65] + spoil))
    assert recover_signer(header) == NO_SIGNER
    assert broken_rule(ABC_START, header) == "seal"


def test_any_changed_field_makes_it_the_seal_of_somebody_else():
    header = child_of(ABC.header, "A")
    changes: dict[str, Any] = {
        "parent_hash": b"\1" * 32,
        "coinbase": b"\1" * 20,
        "state_root": b"\1" * 32,
        "difficulty": 2,
        "gas_used": 1,
        "timestamp": header.timestamp + 1,
        "extra_data": b"\1" + header.extra_data[1:],
        "nonce": ADD_VOTE,
        "base_fee": 7,
    }
    assert recover_signer(header) == address_of("A")
    for name, value in changes.items():
        assert recover_signer(header._replace(**{name: value})) != address_of("A"), name


def test_signer_may_seal_again_after_half_of_the_others_did():
    maker = CliqueMaker(clique_genesis("ABCDE"))
    maker.grow("A")
    maker.grow("B")
    with pytest.raises(RuleBroken, match="recent-signer"):
        maker.grow("A")
    maker.grow("C")
    maker.grow("A")


def test_window_of_recent_signers_shrinks_with_the_signers():
    maker = CliqueMaker(clique_genesis("ABCD"))
    maker.grow("A", "D")
    maker.grow("B", "D")
    maker.grow("C", "D")
    assert maker.snapshot.signers == addresses("ABC")
    maker.grow("B")


def test_checkpoint_must_list_the_signers_in_ascending_order():
    maker = taking_turns(clique_genesis("ABC", epoch=4), "ABC", 3)
    signer = maker.may_sign("ABC")[0]
    difficulty = maker.snapshot.difficulty_of(address_of(signer))
    right = maker.snapshot.signers
    for listed in ((), right[:2], right[::-1], (*right, address_of("F")), addresses("ABF")):
        header = child_of(maker.headers[-1], signer, difficulty=difficulty, listed=listed)
        assert broken_rule(maker.snapshot, header, epoch=4) == "checkpoint"
    maker.grow(signer)


def test_checkpoint_drops_all_votes_but_keeps_the_recent_signers():
    maker = CliqueMaker(clique_genesis("ABC", epoch=2))
    maker.grow("A", "D", add=True)
    assert maker.snapshot.votes == {address_of("D"): frozenset({address_of("A")})}
    maker.grow("B")
    assert maker.snapshot.votes == {}
    with pytest.raises(RuleBroken, match="recent-signer"):
        maker.grow("B")


def test_refused_block_leaves_the_snapshot_as_it_was():
    before = encode_snapshot(ABC_START)
    broken_rule(ABC_START, child_of(ABC.header, "F"))
    assert encode_snapshot(ABC_START) == before


def test_no_block_can_follow_once_the_last_signer_dropped_itself():
    maker = CliqueMaker(clique_genesis("A"))
    maker.grow("A", "A")
    assert maker.snapshot.signers == ()
    assert broken_rule(maker.snapshot, child_of(maker.headers[-1], "A")) == "signer"


@pytest.mark.parametrize("extra_data", [b"", bytes(96), bytes(97), bytes(97 + 19)])
def test_genesis_without_a_list_of_signers_is_refused(extra_data):
    with pytest.raises(ValueError, match="extra data"):
        genesis_snapshot(with_hash(ABC.header._replace(extra_data=extra_data)))


def test_genesis_that_names_a_signer_twice_has_it_once():
    doubled = ABC.header.extra_data[:32] + 2 * address_of("A") + bytes(65)
    genesis = with_hash(ABC.header._replace(extra_data=doubled))
    assert listed_signers(genesis) == [address_of("A")] * 2
    assert genesis_snapshot(genesis).signers == addresses("A")


def test_changed_encoding_is_refused():
    maker = CliqueMaker(clique_genesis("ABCD"))
    maker.grow("A", "E", add=True)
    maker.grow("B", "D")
    value = encode_snapshot(maker.snapshot)
    assert decode_snapshot(value) == maker.snapshot
    for index in range(len(value)):
        flipped = value[:index] + bytes([value[index] ^ 1]) + value[index + 1 :]
        with pytest.raises(ValueError, match="a signer snapshot"):
            decode_snapshot(flipped)
    for cut in (b"", value[:-1], value + b"\0"):
        with pytest.raises(ValueError, match="a signer snapshot"):
            decode_snapshot(cut)


class Ledger:
    """The rules again, told as the EIP tells them: votes in the order cast, counted anew each time."""

    def __init__(self, signers: str) -> None:
        self.signers = set(map(address_of, signers))
        self.votes: list[tuple[bytes, bytes, bool]] = []
        self.sealed_at: dict[bytes, int] = {}

    def copy(self) -> Ledger:
        other = object.__new__(Ledger)
        other.signers, other.votes, other.sealed_at = set(self.signers), list(self.votes), dict(self.sealed_at)
        return other

    def may_sign(self, signer: bytes, number: int) -> bool:
        last = self.sealed_at.get(signer)
        return signer in self.signers and (last is None or number - last >= len(self.signers) // 2 + 1)

    def on_block(self, number: int, signer: bytes, about: bytes, *, add: bool, epoch: int) -> None:
        self.sealed_at[signer] = number
        if number % epoch == 0:
            self.votes = []
            return
        self.votes = [vote for vote in self.votes if vote[:2] != (signer, about)]
        if add != (about in self.signers):
            self.votes.append((signer, about, add))
        passed = len([vote for vote in self.votes if vote[1] == about]) > len(self.signers) // 2
        if passed:
            self.signers ^= {about}
            self.votes = [vote for vote in self.votes if vote[1] != about and vote[0] in self.signers]


class Branches(RuleBasedStateMachine):
    """Grows branches from any block; each must be judged as if it were alone, from genesis on."""

    grown = Bundle("grown")

    @initialize(target=grown, signers=st.sampled_from(["A", "AB", "ABC", "ABCDE"]), epoch=st.integers(2, 9))
    def start(self, signers, epoch):
        self.genesis = clique_genesis(signers, epoch=epoch)
        return CliqueMaker(self.genesis), Ledger(signers)

    @rule(
        target=grown, end=grown, signer=st.sampled_from(NAMES), about=st.sampled_from(["", *NAMES]), add=st.booleans()
    )
    def grow(self, end, signer, about, add):
        maker, ledger = end[0].forked(len(end[0].headers) - 1, end[0].snapshot), end[1].copy()
        number = len(maker.headers)
        allowed = ledger.may_sign(address_of(signer), number)
        try:
            header = maker.grow(signer, about, add=add)
        except RuleBroken:
            assert not allowed
            return end
        assert allowed
        ledger.on_block(number, address_of(signer), header.coinbase, add=header.nonce == ADD_VOTE, epoch=maker.epoch)
        return maker, ledger

    @rule(end=grown)
    def check(self, end):
        maker, ledger = end
        snapshot = maker.snapshot
        assert snapshot.signers == tuple(sorted(ledger.signers))
        pairs = {(voter, about) for about, voters in snapshot.votes.items() for voter in voters}
        assert pairs == {(voter, about) for voter, about, _ in ledger.votes}
        assert all(voter in ledger.signers for voter, _ in pairs)
        assert len(snapshot.recents) <= len(NAMES) // 2 + 1
        assert replayed(self.genesis, maker.headers[1:]) == snapshot
        assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


TestBranches = Branches.TestCase
