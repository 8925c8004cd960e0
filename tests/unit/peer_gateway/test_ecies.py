from __future__ import annotations

import random

import pytest

from services.peer_gateway.core.ecies import (
    ECIES_OVERHEAD_BYTES,
    CannotOpen,
    InvalidPublicKey,
    generate_key,
    node_id_of,
    open_sealed,
    public_key_of,
    seal,
    shared_secret,
)
from services.shared.ethwire.faults import PeerFault
from tests.support.wire import ALICE, BOB, MALLORY

RANDOM_BYTES = random.Random(3).randbytes
SEALED = seal(BOB.key.public_key, b"for bob", RANDOM_BYTES, b"\x01\x02")


def test_a_sealed_message_opens_with_the_recipients_key():
    assert open_sealed(BOB.key, SEALED, b"\x01\x02") == b"for bob"
    assert len(SEALED) == len(b"for bob") + ECIES_OVERHEAD_BYTES


def test_a_sealed_message_does_not_open_with_another_key():
    with pytest.raises(CannotOpen):
        open_sealed(MALLORY.key, SEALED, b"\x01\x02")


def test_a_sealed_message_does_not_open_when_the_shared_bytes_differ():
    with pytest.raises(CannotOpen):
        open_sealed(BOB.key, SEALED, b"\x01\x03")


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_sealed_message_does_not_open_when_any_byte_was_changed(position):
    changed = bytearray(SEALED)
    changed[position] ^= 0x40
    with pytest.raises(PeerFault):
        open_sealed(BOB.key, bytes(changed), b"\x01\x02")


@pytest.mark.parametrize("size", [0, 1, ECIES_OVERHEAD_BYTES])
def test_a_message_too_short_to_hold_anything_does_not_open(size):
    with pytest.raises(CannotOpen):
        open_sealed(BOB.key, SEALED[:size])


def test_both_sides_compute_the_same_shared_secret():
    assert shared_secret(ALICE.key, BOB.key.public_key) == shared_secret(BOB.key, ALICE.key.public_key)


def test_a_node_id_is_its_public_key():
    assert node_id_of(public_key_of(ALICE.node_id)) == ALICE.node_id


@pytest.mark.parametrize("node_id", [b"", bytes(64), b"\xff" * 64, ALICE.node_id[:-1]])
def test_a_node_id_is_refused_when_it_is_no_point_of_the_curve(node_id):
    with pytest.raises(InvalidPublicKey):
        public_key_of(node_id)


def test_a_key_is_drawn_again_when_it_is_out_of_range():
    draws = iter([bytes(32), b"\xff" * 32, b"\x01" * 32])
    assert generate_key(lambda _: next(draws)).secret == b"\x01" * 32
