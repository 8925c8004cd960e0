from __future__ import annotations

import struct
from pathlib import Path

import cramjam
import pytest

from services.shared.ethwire.bodies import body_roots, join_block, receipt_totals
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.rlp_slices import join_list
from services.sync_coordinator.store.dumps import count_blocks, read_chain_file, write_dump
from services.sync_coordinator.store.era1 import BLOCK_INDEX, BODY, HEADER, RECEIPTS, TOTAL_DIFFICULTY, VERSION
from services.sync_coordinator.store.file_block import DumpInvalid, FileBlock
from tests.support.chain_maker import MadeChain, made_chain
from tests.support.vectors import VECTORS

CHAINS = VECTORS / "chains"
MAINNET_50 = CHAINS / "besu-46350-46399.blocks"
MADE = made_chain(20)


def made_dump(path: Path, chain: MadeChain = MADE) -> Path:
    write_dump(path, [join_block(h.header_rlp, b.body_rlp) for h, b in zip(chain.headers, chain.bodies, strict=True)])
    return path


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HIH", kind, len(content), 0) + content


def packed(content: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(content))


def era1(chain: MadeChain, *, first: int = 0, index_change: int = 0, count_change: int = 0, number_change: int = 0):
    """The bytes of an archive of `chain` from block `first` on, with a wrong index where asked."""
    parts, starts = [record(VERSION, b"")], []
    for number in range(first, len(chain.headers)):
        starts.append(sum(map(len, parts)))
        total_difficulty = chain.total_difficulties[number]
        parts += [
            record(HEADER, packed(chain.headers[number].header_rlp)),
            record(BODY, packed(chain.bodies[number].body_rlp)),
            record(RECEIPTS, packed(b"\xc0")),
            record(TOTAL_DIFFICULTY, total_difficulty.to_bytes(32, "little")),
        ]
    parts.append(record(0x07, bytes(32)))
    index_at = sum(map(len, parts))
    offsets = [start - index_at + index_change for start in starts]
    index = struct.pack(f"<Q{len(starts)}qQ", first + number_change, *offsets, len(starts) + count_change)
    return b"".join([*parts, record(BLOCK_INDEX, index)])


def problem_of(path: Path) -> str:
    with pytest.raises(DumpInvalid) as caught:
        count_blocks(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_real_dump_gives_blocks_whose_bodies_fit_their_headers():
    blocks = list(read_chain_file(MAINNET_50))
    headers = [decode_header(block.header_rlp) for block in blocks]
    assert [header.number for header in headers] == list(range(46350, 46400))
    assert headers[-1].hash.hex() == "7428907e594abb3e850e07aa5daa7161e4c35e95e2a17a4664e5516ca304624d"
    for block, header in zip(blocks, headers, strict=True):
        body = body_roots(block.body_rlp)
        assert (body.transactions_root, body.uncles_hash) == (header.transactions_root, header.uncles_hash)
    assert b"".join(join_block(block.header_rlp, block.body_rlp) for block in blocks) == MAINNET_50.read_bytes()


@pytest.mark.parametrize("name", ["chain.rlp", "chain.blocks", "chain.rlp.gz"])
def test_written_dump_reads_back_the_same(tmp_path, name):
    path = made_dump(tmp_path / name)
    expected = [FileBlock(h.header_rlp, b.body_rlp) for h, b in zip(MADE.headers, MADE.bodies, strict=True)]
    assert list(read_chain_file(path)) == expected
    assert count_blocks(path) == len(expected)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") is name.endswith(".gz")


def test_equal_chains_give_equal_files_when_gzipped(tmp_path):
    assert made_dump(tmp_path / "a.gz").read_bytes() == made_dump(tmp_path / "b.gz").read_bytes()


def test_old_file_stays_when_writing_a_dump_fails(tmp_path):
    path = tmp_path / "chain.rlp"
    path.write_bytes(b"old")

    def blocks():
        yield b"\xc0"
        raise KeyError("no more")

    with pytest.raises(KeyError):
        write_dump(path, blocks())
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["chain.rlp"]


@pytest.mark.parametrize("missing", [1, 100, 300, 541])
def test_cut_off_dump_is_refused_with_the_block_where_it_ends(tmp_path, missing):
    path = tmp_path / "chain.rlp"
    content = MAINNET_50.read_bytes()
    path.write_bytes(content[:-missing])
    assert "block 50 of the file (byte 30007): the file is cut off" in problem_of(path)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_cut_off_gzip_is_refused(tmp_path, share):
    path = made_dump(tmp_path / "chain.rlp.gz")
    content = path.read_bytes()
    path.write_bytes(content[: max(2, int(len(content) * share))])
    assert "the gzip file is cut off or damaged" in problem_of(path)


def test_damaged_gzip_is_refused(tmp_path):
    path = made_dump(tmp_path / "chain.rlp.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    assert "the gzip file is cut off or damaged" in problem_of(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\0\0\0\0", "block 1 of the file (byte 0): no block starts here"),
        (b"{}", "neither a chain dump nor an era1 archive"),
        (b"\xfb\xff\xff\xff\xff", "a block of 4294967295 bytes is not possible"),
        (b"\xff" + b"\xff" * 8, "is not possible"),
        (b"\xfb\xff", "the file is cut off"),
    ],
)
def test_file_that_is_no_chain_is_refused(tmp_path, content, problem):
    path = tmp_path / "chain.rlp"
    path.write_bytes(content)
    assert problem in problem_of(path)


def test_missing_file_is_refused(tmp_path):
    assert "the file cannot be read: No such file or directory" in problem_of(tmp_path / "chain.rlp")


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([b"\xc0", b"\xc0", b"\xc0", b"\xc0"], "withdrawals are not supported"),
        ([b"\xc0", b"\xc0"], "an item is missing"),
        ([b"\xc0", b"\x80", b"\xc0"], "a list is expected"),
    ],
)
def test_reading_stops_with_the_block_that_is_not_one(tmp_path, items, problem):
    path = tmp_path / "chain.rlp"
    first = join_block(MADE.headers[0].header_rlp, MADE.bodies[0].body_rlp)
    path.write_bytes(first + join_list(items))
    assert count_blocks(path) == 2
    blocks = read_chain_file(path)
    assert next(blocks).header_rlp == MADE.headers[0].header_rlp
    with pytest.raises(DumpInvalid, match=problem) as caught:
        next(blocks)
    assert caught.value.where == f"block 2 of the file (byte {len(first)})"


@pytest.mark.parametrize("first", [0, 5])
def test_era1_gives_blocks_with_receipts_and_total_difficulties(tmp_path, first):
    path = tmp_path / "chain.era1"
    path.write_bytes(era1(MADE, first=first))
    blocks = list(read_chain_file(path))
    assert [block.header_rlp for block in blocks] == [header.header_rlp for header in MADE.headers[first:]]
    assert [block.body_rlp for block in blocks] == [body.body_rlp for body in MADE.bodies[first:]]
    assert {block.receipts_rlp for block in blocks} == {b"\xc0"}
    assert [block.total_difficulty for block in blocks] == MADE.total_difficulties[first:]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_cut_off_era1_is_refused(tmp_path, share):
    path = tmp_path / "chain.era1"
    content = era1(MADE)
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut off" in problem_of(path) or "missing" in problem_of(path)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"index_change": 1}, "it does not point to block 0"),
        ({"count_change": 1}, "it counts 22 blocks, 21 are there"),
        ({"number_change": 1}, "it starts at block 1, the first one is 0"),
    ],
)
def test_era1_is_refused_when_its_index_does_not_fit_its_blocks(tmp_path, wrong, problem):
    path = tmp_path / "chain.era1"
    path.write_bytes(era1(MADE, **wrong))
    assert problem in problem_of(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (record(VERSION, b"x"), "an e2store version record is missing"),
        (record(VERSION, b"") + b"\x03\x00\x00\x00\x00\x00\x01\x00", "no e2store record starts here"),
        (record(VERSION, b"") + record(HEADER, b"not snappy"), "a header record does not unpack"),
        (record(VERSION, b"") + record(BODY, packed(b"\xc0")), "a body record stands outside a block"),
        (
            record(VERSION, b"") + record(HEADER, packed(MADE.headers[0].header_rlp)) + record(RECEIPTS, b""),
            "the body record of a block is missing",
        ),
        (record(VERSION, b"") + record(HEADER, packed(b"\xc0")), "the body record of a block is missing"),
        (era1(MADE) + record(0x07, b""), "a record follows the block index"),
    ],
)
def test_damaged_era1_is_refused(tmp_path, content, problem):
    path = tmp_path / "chain.era1"
    path.write_bytes(content)
    assert problem in problem_of(path)


def test_empty_receipts_have_the_empty_root():
    assert receipt_totals(b"\xc0").root == MADE.headers[0].receipts_root
