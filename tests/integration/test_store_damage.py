"""A damaged store gives one clear line: before it is opened, while it is checked, and under a running node."""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb
import pytest

from services.shared.ethwire.bodies import join_block
from services.sync_coordinator.core.fork_choice import extend_blocks
from services.sync_coordinator.store.chain_store import StoreRefused
from services.sync_coordinator.store.dumps import write_dump
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.probe import probe
from services.sync_coordinator.store.tables import Table, number_key
from tests.support.chain_maker import made_chain
from tests.support.deadlines import DEADLINE_S, until
from tests.support.processes import ready_pid, run_trisync, trisync
from tests.support.small_network import chain_blocks, next_block, write_genesis
from tests.support.stack import in_one_loop
from tests.support.store_process import GENESIS
from trisync.cli.data_dir import DataDir

pytestmark = pytest.mark.integration

PAGE_BYTES: Final = 4096
CHAIN = made_chain(1200)
SEEDS = range(16)
REFUSED: Final = "put a copy back, or remove the directory to sync again"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store whose trees have branch, leaf and overflow pages."""
    path = tmp_path_factory.mktemp("original") / "chain"
    store = LmdbChainStore.open(path, GENESIS)
    rng = random.Random(1)
    for first in range(1, 1201, 100):
        blocks = [CHAIN.block(number) for number in range(first, first + 100)]
        receipts = {block.header.hash: rng.randbytes(9000) for block in blocks[::20]}
        store.commit(extend_blocks(store, blocks, receipts))
    store.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "chain"))


def damage(file: Path, rng: random.Random) -> str:
    """Spoils one page, each kind of page as likely as another; tells what was done."""
    content = bytearray(file.read_bytes())
    kinds: dict[int, list[int]] = {}
    for page in range(len(content) // PAGE_BYTES):
        number, _, flags = struct.unpack_from("=QHH", content, page * PAGE_BYTES)
        if number == page and flags in (1, 2, 4, 8):
            kinds.setdefault(flags, []).append(page)
    page = rng.choice(kinds[rng.choice(sorted(kinds))])
    start = page * PAGE_BYTES
    how = rng.choice(["head", "inside", "zeros", "garbage", "cut"])
    if how == "head":
        content[start + rng.randrange(160)] ^= 1 << rng.randrange(8)
    elif how == "inside":
        content[start + rng.randrange(PAGE_BYTES)] ^= 1 << rng.randrange(8)
    elif how == "zeros":
        content[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
    elif how == "garbage":
        content[start : start + PAGE_BYTES] = rng.randbytes(PAGE_BYTES)
    else:
        del content[start + rng.randrange(PAGE_BYTES) :]
    file.write_bytes(content)
    return f"{how} of page {page}"


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_page_gives_one_line_and_no_death(path: Path, seed: int):
    what = damage(path / "data.mdb", random.Random(seed))
    command = [sys.executable, "-m", "tests.support.store_process", "read", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode in (0, 1), (what, ended.returncode, ended.stderr)
    assert len(ended.stderr.splitlines()) == ended.returncode, (what, ended.stderr)
    if ended.returncode:
        assert str(path) in ended.stderr


def test_death_of_the_process_that_reads_first_is_told_in_the_one_line(path: Path):
    with (path / "data.mdb").open("r+b") as file:
        file.truncate(2 * PAGE_BYTES)
    with pytest.raises(StoreRefused, match="the store is damaged: a process that read it was ended by SIGBUS; put"):
        probe(path, writes=False)


def test_page_that_cannot_be_read_is_told_in_the_words_of_who_read_first(path: Path):
    overwrite_all(path / "data.mdb")
    with pytest.raises(StoreRefused, match=r"the store is damaged: mdb_\w+: MDB_.*; put a copy back"):
        probe(path, writes=True)


def test_first_reader_leaves_the_store_as_it_is(path: Path):
    before = (path / "data.mdb").read_bytes()
    probe(path, writes=True)
    probe(path, writes=False)
    assert (path / "data.mdb").read_bytes() == before


def overwrite_all(file: Path) -> None:
    """Every page but the two meta pages, in place."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(2 * PAGE_BYTES)
        opened.write(random.Random(1).randbytes(size - 2 * PAGE_BYTES))


def cut_off(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(2 * PAGE_BYTES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a chain, and its genesis file."""
    path = tmp_path_factory.mktemp("prepared")
    genesis = write_genesis(path / "genesis.json")
    dump = path / "chain.rlp"
    write_dump(dump, [join_block(block.header.header_rlp, block.body_rlp) for block in chain_blocks(300)])

    @in_one_loop
    async def fill() -> None:
        flags = ("--datadir", path / "data", "--genesis", genesis, "--seal-check", "none")
        assert (await run_trisync("import", *flags, dump)).exit_code == 0

    fill()
    return path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (overwrite_all, "coordinator ended with code 1: coordinator: "),
        (cut_off, "coordinator was killed by SIGBUS, as happens when its store is damaged; `trisync verify` tells"),
    ],
)
def test_node_whose_store_is_damaged_under_it_says_so_and_is_not_started_on_it_again(
    prepared: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
):
    datadir = tmp_path / "data"
    shutil.copytree(prepared / "data", datadir)

    @in_one_loop
    async def scenario() -> None:
        flags = ("--datadir", datadir, "--genesis", prepared / "genesis.json", "--seal-check", "none")
        async with trisync("up", *flags, "--host", "127.0.0.1", "--port", 0, "--nodiscover") as up:
            await ready_pid(DataDir(datadir).run_dir / "gateway-0", "peer_gateway")
            spoil(store_path(datadir) / "data.mdb")
            await run_trisync("block", "7", "--datadir", datadir)
            assert up.stderr is not None
            async with asyncio.timeout(DEADLINE_S):
                while not (line := (await up.stderr.readline()).decode()).startswith(said):
                    assert line, "it ended without a word"
            logs = datadir / "logs"
            await until(lambda: REFUSED in (logs / "coordinator.log").read_text(), "the next start to be refused")
            assert "Traceback" not in "".join(log.read_text() for log in logs.glob("*.log"))

    scenario()


def test_disk_that_fills_up_ends_an_import_in_one_line_and_keeps_what_was_committed(prepared: Path, tmp_path: Path):
    datadir = tmp_path / "data"
    flags = ["--datadir", str(datadir), "--genesis", str(prepared / "genesis.json"), "--seal-check", "none"]
    module = [sys.executable, "-m", "services.sync_coordinator.commands"]
    assert subprocess.run([*module, "init", *flags[:4]], check=False, capture_output=True).returncode == 0
    limit = (store_path(datadir) / "data.mdb").stat().st_size + 4 * PAGE_BYTES

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(
        [*module, "import", *flags, str(prepared / "chain.rlp")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        preexec_fn=limited,
        check=False,
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "the store failed: " in ended.stderr
    assert "MB are free on its disk" in ended.stderr
    again = subprocess.run([*module, "verify", *flags], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("verified 1 blocks")


def test_import_into_a_store_that_lost_its_heads_total_difficulty_ends_in_one_line(prepared: Path, tmp_path: Path):
    datadir = tmp_path / "data"
    shutil.copytree(prepared / "data", datadir)
    blocks = [*chain_blocks(300)]
    more = tmp_path / "more.rlp"
    write_dump(more, [join_block(block.header.header_rlp, block.body_rlp) for block in [next_block(blocks)]])
    head = blocks[-1].header
    with lmdb.open(str(store_path(datadir)), max_dbs=32) as env:
        table = env.open_db(Table.TOTAL_DIFFICULTY.value)
        with env.begin(write=True) as txn:
            assert txn.delete(number_key(head.number) + head.hash, db=table)
    flags = ["--datadir", str(datadir), "--genesis", str(prepared / "genesis.json"), "--seal-check", "none"]
    module = [sys.executable, "-m", "services.sync_coordinator.commands", "import", *flags, str(more)]
    ended = subprocess.run(module, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "the store is damaged: " in line
    assert "`trisync verify` tells more" in line
