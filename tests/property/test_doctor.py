from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.peer_gateway.core.verdicts import Outcome, Verdict
from services.shared.ethwire.eth_messages import ETH_VERSIONS
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import BlockHash
from tests.support.diagnosed_peer import ADDRESS, DiagnosedPeer
from tests.support.wire import random_cut

LATER_S = 60.0
HASHES = st.binary(min_size=32, max_size=32).map(BlockHash)
STATUSES = st.builds(Status, st.just(63), st.integers(0, 2**64 - 1), st.integers(0, 2**128), HASHES, HASHES)
MESSAGES = st.lists(
    st.tuples(st.integers(0, ETH_VERSIONS[63].length - 1), st.binary(max_size=300) | st.just(b"\xc0")), max_size=8
)


def assert_told(peer: DiagnosedPeer) -> None:
    """It ends in time with a verdict and one last step, whatever came."""
    peer.wait(LATER_S)
    report = peer.report
    assert report.explanation
    assert (report.steps[-1].outcome is not Outcome.FAILED) == (report.verdict is Verdict.WORKS)
    assert all(step.outcome is not Outcome.FAILED for step in report.steps[:-1])
    assert report.explanation.isprintable()
    assert all(step.text.isprintable() for step in report.steps)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=700), max_size=4), st.booleans())
def test_any_bytes_instead_of_a_handshake_give_a_verdict(pieces, hangs_up):
    peer = DiagnosedPeer()
    peer.diagnosis.connected(ADDRESS, peer.now)
    peer.diagnosis.data_to_send()
    for piece in pieces:
        peer.diagnosis.receive_data(piece, peer.now)
    if hangs_up:
        peer.diagnosis.receive_eof(peer.now)
    assert_told(peer)


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.integers(1, 300), st.binary(max_size=500))
def test_any_bytes_after_the_handshake_give_a_verdict(seed, most, sent):
    peer = DiagnosedPeer(cut=random_cut(seed, most)).connect()
    peer.diagnosis.receive_data(sent, peer.now)
    assert_told(peer)


@settings(max_examples=150, deadline=None)
@given(st.none() | STATUSES, MESSAGES, st.booleans(), st.randoms(use_true_random=False))
def test_any_messages_of_eth_give_a_verdict(status, messages, hangs_up, rng: random.Random):
    peer = DiagnosedPeer(cut=random_cut(rng.randrange(2**32))).connect()
    if status is not None:
        peer.say(status)
    for code, payload in messages:
        peer.bob.send_message(code, payload)
        if rng.random() < 0.5:
            peer.settle()
    peer.settle()
    if hangs_up:
        peer.diagnosis.receive_eof(peer.now)
    assert_told(peer)
