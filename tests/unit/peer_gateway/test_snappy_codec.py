from __future__ import annotations

import lzma

import pytest

from services.peer_gateway.core.snappy_codec import (
    MAX_MESSAGE_BYTES,
    CorruptCompression,
    InflatedTooLarge,
    declared_size,
    deflate,
    inflate,
)
from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.rlp_slices import join_list, split_list
from tests.support.vectors import vector_bytes

RINKEBY_272621 = bytes.fromhex("bd64134a158aa767120725614026cc5e614dd67a2cbbcdf72823c97981a08620")


@pytest.mark.parametrize("library", ["go", "py"])
def test_published_blocks_inflate_whichever_library_compressed_them(library):
    compressed = bytes.fromhex(lzma.decompress(vector_bytes(f"rlpx/block.{library}.snappy.xz")).decode())
    block_rlp = inflate(compressed)
    assert len(block_rlp) == declared_size(compressed) == 1_522_774
    assert inflate(deflate(block_rlp)) == block_rlp
    header_rlp, transactions_rlp, uncles_rlp = split_list(block_rlp)
    header = decode_header(header_rlp)
    assert header.hash == RINKEBY_272621
    roots = body_roots(join_list([transactions_rlp, uncles_rlp]))
    assert (roots.transactions_root, roots.uncles_hash) == (header.transactions_root, header.uncles_hash)


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
