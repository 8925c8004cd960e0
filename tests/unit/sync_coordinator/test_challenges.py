from __future__ import annotations

import itertools

import pytest

from services.shared.ethwire.headers import decode_header, with_hash
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.challenges import AskHeader, ChallengeFailed, Challenges, DaoFork
from tests.support.peers import ALICE, BOB
from tests.support.vectors import from_hex, load_vectors

FORK = 1_920_000
GENESIS = decode_header(from_hex(load_vectors("ethwire/mainnet_blocks.json")[0]["headerRLP"]))
PRO_FORK = with_hash(GENESIS._replace(number=FORK, extra_data=b"dao-hard-fork"))
NO_FORK = with_hash(GENESIS._replace(number=FORK, extra_data=b"no"))


def challenges(*, support: bool = True, whitelist: dict[int, BlockHash] | None = None) -> Challenges:
    return Challenges(DaoFork(FORK, support), whitelist or {}, itertools.count(1).__next__)


def test_new_peer_is_asked_for_the_fork_block_and_every_whitelisted_one():
    asked = challenges(whitelist={7: BlockHash(b"w" * 32)}).on_peer_joined(ALICE, 0.0)
    assert asked == [AskHeader(1, ALICE, FORK), AskHeader(2, ALICE, 7)]


def test_nothing_is_asked_on_a_network_without_dao_fork_and_whitelist():
    assert Challenges(None, {}, itertools.count().__next__).on_peer_joined(ALICE, 0.0) == []


@pytest.mark.parametrize(
    ("support", "answer", "passes"),
    [(True, PRO_FORK, True), (True, NO_FORK, False), (False, NO_FORK, True), (False, PRO_FORK, False)],
)
def test_fork_block_of_the_other_side_fails_the_challenge(support: bool, answer: Header, passes: bool):
    dao = challenges(support=support)
    dao.on_peer_joined(ALICE, 0.0)
    failed = dao.on_headers(1, [answer], peer_reaches_fork=False)
    assert (failed == []) is passes
    assert dao.next_wakeup() is None
    if failed:
        assert isinstance(failed[0], ChallengeFailed)
        assert failed[0].offence is Offence.DAO_MISMATCH


def test_empty_answer_passes_unless_the_peer_claims_to_be_past_the_fork():
    for reaches, passes in ((False, True), (True, False)):
        dao = challenges()
        dao.on_peer_joined(ALICE, 0.0)
        assert (dao.on_headers(1, [], peer_reaches_fork=reaches) == []) is passes


def test_block_of_another_number_fails_the_dao_challenge():
    dao = challenges()
    dao.on_peer_joined(ALICE, 0.0)
    assert dao.on_headers(1, [GENESIS], peer_reaches_fork=False) != []


def test_silence_fails_the_dao_challenge_after_fifteen_seconds():
    dao = challenges()
    dao.on_peer_joined(ALICE, 100.0)
    dao.on_peer_joined(BOB, 101.0)
    dao.on_peer_left(BOB)
    assert dao.next_wakeup() == 115.0
    assert dao.on_wakeup(114.9) == []
    failed = dao.on_wakeup(115.0)
    assert [(action.peer, action.offence) for action in failed if isinstance(action, ChallengeFailed)] == [
        (ALICE, Offence.DAO_TIMEOUT)
    ]
    assert dao.on_headers(1, [PRO_FORK], peer_reaches_fork=False) == []


def test_whitelist_drops_a_peer_with_another_block_and_forgives_silence():
    wanted = Challenges(None, {1: GENESIS.hash}, itertools.count(1).__next__)
    wanted.on_peer_joined(ALICE, 0.0)
    wanted.on_peer_joined(BOB, 0.0)
    assert wanted.on_headers(1, [], peer_reaches_fork=False) == []
    other = with_hash(GENESIS._replace(extra_data=b"other"))
    failed = wanted.on_headers(2, [other], peer_reaches_fork=False)
    assert len(failed) == 1
    assert wanted.next_wakeup() is None


def test_whitelisted_block_with_the_right_hash_passes():
    wanted = Challenges(None, {1: GENESIS.hash}, itertools.count(1).__next__)
    wanted.on_peer_joined(ALICE, 0.0)
    assert wanted.on_headers(1, [GENESIS], peer_reaches_fork=False) == []


def test_question_that_we_lost_ourselves_is_asked_again_with_its_whole_time():
    dao = challenges()
    dao.on_peer_joined(ALICE, 100.0)
    assert dao.on_request_lost(1, 110.0) == [AskHeader(2, ALICE, FORK)]
    assert dao.next_wakeup() == 125.0
    assert dao.on_headers(2, [PRO_FORK], peer_reaches_fork=True) == []
    assert dao.on_request_lost(2, 111.0) == []
    assert dao.next_wakeup() is None


def test_peer_is_challenged_until_it_has_answered_or_left():
    both = challenges(whitelist={7: BlockHash(b"w" * 32)})
    both.on_peer_joined(ALICE, 0.0)
    both.on_peer_joined(BOB, 0.0)
    assert both.challenged() == {ALICE, BOB}
    both.on_headers(1, [PRO_FORK], peer_reaches_fork=False)
    assert both.challenged() == {ALICE, BOB}
    both.on_headers(2, [], peer_reaches_fork=False)
    assert both.challenged() == {BOB}
    both.on_peer_left(BOB)
    assert both.challenged() == set()
