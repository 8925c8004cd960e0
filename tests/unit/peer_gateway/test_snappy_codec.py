from __future__ import annotations

import pytest

from services.peer_gateway.core.snappy_codec import (
    MAX_MESSAGE_BYTES,
    CorruptCompression,
    InflatedTooLarge,
    declared_size,
    deflate,
    inflate,
)


@pytest.mark.parametrize("payload", [b"", b"\xc0", bytes(1_000_000), bytes(range(256)) * 50])
def test_a_payload_comes_back(payload):
    assert inflate(deflate(payload)) == payload
    assert declared_size(deflate(payload)) == len(payload)


def test_a_bomb_is_refused_by_its_declared_size():
    bomb = b"\xff\xff\xff\x7f" + b"\xfe\x01\x00" * 10
    assert declared_size(bomb) == 2**28 - 1
    with pytest.raises(InflatedTooLarge) as raised:
        inflate(bomb)
    assert (raised.value.declared_bytes, raised.value.most_bytes) == (2**28 - 1, MAX_MESSAGE_BYTES)


def test_the_limit_is_the_callers_where_it_is_lower():
    assert inflate(deflate(bytes(100)), 100) == bytes(100)
    with pytest.raises(InflatedTooLarge):
        inflate(deflate(bytes(101)), 100)


@pytest.mark.parametrize(
    "compressed",
    [
        b"",
        b"\x80",
        b"\xff" * 6,
        b"\x05",
        b"\x05\x00",
        deflate(bytes(100))[:-1],
        deflate(b"abc") + b"x",
        b"\x06" + deflate(b"abc")[1:],
    ],
)
def test_corrupt_bytes_are_refused(compressed):
    with pytest.raises(CorruptCompression):
        inflate(compressed)
