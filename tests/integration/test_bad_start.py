"""What a user reads who starts on something bad: one clear line, an exit code, and a store as it was before."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from services.shared.ethwire.bodies import join_block
from services.sync_coordinator.store.dumps import write_dump
from services.sync_coordinator.store.lmdb_store import store_path
from services.sync_coordinator.store.tables import SCHEMA_KEY, Table
from services.sync_coordinator.store.writer_lock import WriterLock
from tests.support.mainnet import ERA1
from tests.support.processes import Outcome, run_trisync
from tests.support.small_network import chain_blocks, write_genesis
from tests.support.stack import in_one_loop
from tests.support.vectors import VECTORS
from tests.support.wire import local_node
from trisync.cli import main
from trisync.cli.data_dir import DataDir, DataDirLock

pytestmark = pytest.mark.integration

GZIPPED = VECTORS / "interop" / "mainnet-0-256.rlp.gz"
RunHere = Callable[[Sequence[object]], Outcome]

HEAVY = {"config": {}, "gasLimit": 1, "alloc": {}, "difficulty": "heavy"}
PAGE_BYTES = 4096
NODE_ID = local_node("alice").node_id.hex()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genesis file, a dump of its chain, and a data directory that holds a part of it."""
    path = tmp_path_factory.mktemp("prepared")
    genesis = write_genesis(path / "genesis.json")
    blocks = [join_block(block.header.header_rlp, block.body_rlp) for block in chain_blocks(300)]
    write_dump(path / "chain.rlp", blocks)
    write_dump(path / "part.rlp", blocks[:200])

    @in_one_loop
    async def fill() -> None:
        flags = ("--datadir", path / "data", "--genesis", genesis, "--seal-check", "none")
        assert (await run_trisync("import", *flags, path / "part.rlp")).exit_code == 0

    fill()
    return path


class Case:
    """A copy of the prepared directory that a test may spoil."""

    def __init__(self, path: Path) -> None:
        self.path, self.datadir = path, path / "data"
        self.store = store_path(self.datadir) / "data.mdb"

    def up(self, **changes: object) -> list[object]:
        return ["up", *self._chain(changes), *_flags({"host": "127.0.0.1", "port": 0, "nodiscover": True, **changes})]

    def import_(self, file: Path, **changes: object) -> list[object]:
        return ["import", *self._chain(changes), *_flags(changes), file]

    def content(self) -> dict[str, str]:
        """A hash of every file of the store but its locks, which name their holder."""
        files = [path for path in store_path(self.datadir).rglob("*") if path.is_file() and "lock" not in path.name]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def _chain(self, changes: dict[str, object]) -> list[object]:
        chosen = {"datadir": self.datadir, "genesis": self.path / "genesis.json", "seal_check": "none"}
        if "network" in changes:
            del chosen["genesis"]
        return _flags({name: value for name, value in chosen.items() if name not in changes})


def _flags(values: dict[str, object]) -> list[object]:
    flags: list[object] = []
    for name, value in values.items():
        flags.append("--" + name.replace("_", "-"))
        flags += [] if value is True else [value]
    return flags


@pytest.fixture
def case(prepared: Path, tmp_path: Path) -> Case:
    shutil.copytree(prepared, tmp_path / "case")
    return Case(tmp_path / "case")


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Runs a command that starts no process, in this one."""

    def run(arguments: Sequence[object]) -> Outcome:
        exit_code = main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return Outcome(exit_code, captured.out.splitlines(), captured.err.splitlines())

    return run


def check_refused(outcome: Outcome, exit_code: int, *parts: str) -> None:
    assert len(outcome.err) == 1, outcome.err
    for part in parts:
        assert part in outcome.err[0]
    assert outcome.exit_code == exit_code


def cut_off(case: Case) -> None:
    os.truncate(case.store, case.store.stat().st_size // 2)


def overwrite_start(case: Case) -> None:
    with case.store.open("r+b") as store:
        store.write(random.Random(1).randbytes(PAGE_BYTES))


def overwrite_tables(case: Case) -> None:
    """All pages but the two that name the others."""
    size = case.store.stat().st_size
    with case.store.open("r+b") as store:
        store.seek(2 * PAGE_BYTES)
        store.write(random.Random(2).randbytes(size - 2 * PAGE_BYTES))


def replace_by_text(case: Case) -> None:
    case.store.write_text("this is not a store\n" * 1000)


def raise_schema(case: Case) -> None:
    env = lmdb.open(str(case.store.parent), max_dbs=len(Table))
    with closing(env), env.begin(write=True, db=env.open_db(Table.META.value)) as txn:
        txn.put(SCHEMA_KEY, b"999")


@pytest.mark.parametrize(
    ("spoil", "problem", "todo"),
    [
        (cut_off, "the store is damaged: ", "remove the directory"),
        (overwrite_start, "the store is damaged: ", "remove the directory"),
        (overwrite_tables, "the store is damaged: ", "remove the directory"),
        (replace_by_text, "the store is damaged: ", "remove the directory"),
        (raise_schema, "the store has schema 999, this trisync knows", "use the newer trisync"),
    ],
)
@in_one_loop
async def test_bad_store_is_refused_and_untouched(
    case: Case, spoil: Callable[[Case], None], problem: str, todo: str
) -> None:
    spoil(case)
    before = case.content()
    check_refused(await run_trisync(*case.up()), 1, str(case.store.parent), problem, todo)
    assert case.content() == before


@in_one_loop
async def test_store_of_another_chain_is_refused_and_untouched(case: Case) -> None:
    before = case.content()
    flags = {"network": "mainnet"}
    problem = "genesis mismatch: the store has 0x"
    check_refused(
        await run_trisync(*case.up(**flags)),
        1,
        str(case.store.parent),
        problem,
        "this network's is 0xd4e5",
        "--datadir",
    )
    check_refused(await run_trisync(*case.import_(ERA1, **flags)), 1, problem)
    assert case.content() == before


@in_one_loop
async def test_data_directory_in_use_is_refused_and_untouched(case: Case) -> None:
    before = case.content()
    writer = WriterLock.acquire(case.store.parent)
    used = f"in use by another process (pid {os.getpid()})"
    check_refused(await run_trisync(*case.up()), 1, str(case.store.parent), used)
    check_refused(await run_trisync(*case.import_(case.path / "chain.rlp")), 1, str(case.store.parent), used)
    writer.release()
    data_dir = DataDir(case.datadir)
    data_dir.prepare()
    lock = await DataDirLock.acquire(data_dir)
    check_refused(await run_trisync(*case.up()), 1, f"--datadir {case.datadir} is in use by another trisync")
    lock.release()
    assert case.content() == before


@pytest.mark.parametrize("flag", ["port", "metrics_port"])
@in_one_loop
async def test_port_in_use_is_refused(case: Case, flag: str) -> None:
    before = case.content()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = await run_trisync(*case.up(**{flag: port}))
    check_refused(outcome, 1, f"127.0.0.1:{port}: address already in use")
    assert case.content() == before


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({"static_peer": "enode://12@127.0.0.1:30303"}, ["--static-peer", "enode://12@127.0.0.1:30303", "128 hex"]),
        ({"static_peer": f"http://{NODE_ID}@127.0.0.1:1"}, ["--static-peer", "enode://"]),
        ({"trusted_peer": f"enode://{NODE_ID}@127.0.0.1:99999"}, ["--trusted-peer", "99999"]),
        ({"network": "moonnet"}, ["--network", "moonnet", "mainnet"]),
        ({"syncmode": "warp"}, ["--syncmode", "warp", "full"]),
        ({"networkid": 0}, ["--networkid 0", "1..2^64-1"]),
        ({"port": 70000}, ["--port 70000", "65535"]),
        ({"until": "soon"}, ["--until", "soon", "head"]),
        ({"seal_check": "clique"}, ["clique"]),
    ],
)
def test_bad_flag_is_refused(here: RunHere, case: Case, flags: dict[str, object], parts: list[str]) -> None:
    before = case.content()
    check_refused(here(case.up(**flags)), 2, *parts)
    assert case.content() == before


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ["cannot be read: No such file"]),
        ("{", ["JSON"]),
        ("[]", ["must be a JSON object"]),
        (json.dumps({"config": {}, "gasLimit": 1, "difficulty": 1}), ["alloc: is required"]),
        (json.dumps(HEAVY), ["difficulty = 'heavy': must be a decimal or 0x hex integer"]),
    ],
)
def test_bad_genesis_file_is_refused(here: RunHere, case: Case, text: str | None, parts: list[str]) -> None:
    before, genesis = case.content(), case.path / "bad.json"
    if text is not None:
        genesis.write_text(text)
    check_refused(here(case.up(genesis=genesis)), 1, str(genesis), *parts)
    assert case.content() == before


def cut(source: Path, target: Path, size: int) -> Path:
    target.write_bytes(source.read_bytes()[:size])
    return target


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: cut(path / "chain.rlp", path / "bad.rlp", 100_000), "the file is cut off"),
        (lambda path: cut(GZIPPED, path / "bad.rlp.gz", 9000), "the gzip file is cut off or damaged"),
        (lambda path: cut(ERA1, path / "bad.era1", 1_000_000), "the file is cut off"),
        (lambda path: garbage(path / "garbage.rlp"), "no block starts here"),
        (lambda path: empty(path / "empty.rlp"), "the file is empty"),
    ],
    ids=["rlp", "rlp.gz", "era1", "garbage", "empty"],
)
@in_one_loop
async def test_bad_chain_file_is_refused(case: Case, make: Callable[[Path], Path], problem: str) -> None:
    before, file = case.content(), make(case.path)
    check_refused(await run_trisync(*case.import_(file)), 1, str(file), problem)
    assert case.content() == before


def garbage(path: Path) -> Path:
    path.write_bytes(b"\x10" + random.Random(3).randbytes(10_000))
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


@in_one_loop
async def test_bad_node_key_file_is_refused(case: Case) -> None:
    key_file = case.path / "key"
    key_file.write_text("not a key")
    check_refused(await run_trisync(*case.up(nodekey=key_file)), 1, str(key_file))
    assert key_file.read_text() == "not a key"
