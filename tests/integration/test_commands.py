"""The store commands: most are called in this process, those that are killed or locked out run in one of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.shared.chainspec.genesis import load_genesis
from services.shared.ethwire.bodies import join_block
from services.sync_coordinator.commands import main
from services.sync_coordinator.store.dumps import write_dump
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.writer_lock import WriterLock
from tests.support.ruled_chain import GENESIS, ruled_block, ruled_chain
from tests.support.vectors import VECTORS

pytestmark = pytest.mark.integration

CHAINS = VECTORS / "chains"
BESU_GENESIS = CHAINS / "besu-33-genesis.json"
BESU_DUMP = CHAINS / "besu-33.blocks"
BESU_HEAD = "head 32 0x71d59849ddd98543bdfbe8548f5eed559b07b8aaf196369f39134500eab68e53"
ERA1 = Path(__file__).parents[2] / "data" / "mainnet-00000-5ec1ffb8.era1"
LONG_BLOCKS = 6000
MOST_BYTES = 5_000_000
"""A little less than the size of the long chain's store."""


class Commands:
    """Runs commands on one data directory and keeps what they said."""

    def __init__(self, datadir: Path, genesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.datadir, self.genesis, self._capsys = datadir, genesis, capsys
        self.out = self.err = ""

    def __call__(self, command: str, *arguments: object) -> int:
        try:
            code = main([command, *self._chain(), *map(str, arguments)])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out.strip(), captured.err.strip()
        return code

    def spawn(self, command: str, *arguments: object) -> subprocess.Popen[str]:
        module = "services.sync_coordinator.commands"
        return subprocess.Popen(
            [sys.executable, "-m", module, command, *self._chain(), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def content(self) -> bytes | None:
        file = store_path(self.datadir) / "data.mdb"
        return file.read_bytes() if file.exists() else None

    def _chain(self) -> list[str]:
        return ["--datadir", str(self.datadir), "--genesis", str(self.genesis)]


@pytest.fixture
def besu(tmp_path, capsys) -> Commands:
    return Commands(tmp_path / "besu", BESU_GENESIS, capsys)


@pytest.fixture(scope="module")
def long_chain(tmp_path_factory):
    """A genesis file and a dump of many blocks on top of it."""
    path = tmp_path_factory.mktemp("long")
    config = {"chainId": 1337, "homesteadBlock": 0, "byzantiumBlock": 0, "ethash": {}}
    fields = {"config": config, "difficulty": "0x20000", "gasLimit": "0x7a1200", "nonce": "0x0", "alloc": {}}
    (path / "genesis.json").write_text(json.dumps(fields))
    assert load_genesis(path / "genesis.json").header == GENESIS
    blocks = ruled_chain(GENESIS, LONG_BLOCKS)
    write_dump(path / "chain.rlp", [join_block(block.header.header_rlp, block.body_rlp) for block in blocks])
    return path


@pytest.fixture
def long(long_chain, tmp_path, capsys) -> Commands:
    return Commands(tmp_path / "long", long_chain / "genesis.json", capsys)


def test_chain_is_imported_verified_and_exported_with_its_real_seals(besu, tmp_path):
    assert besu("init") == 0
    assert besu.out.startswith(f"chain store ready in {besu.datadir}/chaindata, genesis 0x")
    assert besu("import", BESU_DUMP) == 0
    assert besu.out.startswith("imported 32 blocks in ")
    assert besu.out.endswith(f", 1 known already, {BESU_HEAD}")
    assert besu("import", "--seal-check", "none", BESU_DUMP) == 0
    assert "imported 0 blocks" in besu.out
    assert "33 known already" in besu.out
    assert besu("verify") == 0
    assert besu.out == f"verified 33 blocks, {BESU_HEAD}"
    assert besu("export", tmp_path / "out.rlp") == 0
    assert (tmp_path / "out.rlp").read_bytes() == BESU_DUMP.read_bytes()


def test_every_command_tells_programs_what_came_of_it(besu, tmp_path):
    head = {"head_number": 32, "head_hash": BESU_HEAD.rsplit(maxsplit=1)[-1]}
    assert besu("init", "--json") == 0
    assert json.loads(besu.out)["head_number"] == 0
    assert json.loads(besu.out)["store"] == str(store_path(besu.datadir))
    assert besu("import", "--json", "--seal-check", "none", BESU_DUMP) == 0
    imported = json.loads(besu.out)
    assert imported.pop("seconds") > 0
    assert imported == {"imported": 32, "known": 1, **head}
    assert besu("verify", "--json", "--seal-check", "none") == 0
    assert json.loads(besu.out) == {"verified": 33, "state_entries": 0, "unjudged_seal_states": 0, **head}
    assert besu("export", "--json", tmp_path / "out.rlp", 5, 9) == 0
    assert json.loads(besu.out) == {"exported": 5, "first": 5, "last": 9, "file": str(tmp_path / "out.rlp")}


def test_reimported_export_is_identical_when_it_is_gzipped_and_cut(besu, tmp_path, capsys):
    besu("import", "--seal-check", "none", BESU_DUMP)
    besu("export", tmp_path / "first.rlp.gz", 0, 20)
    besu("export", tmp_path / "second.rlp", 21)
    assert besu.out == f"exported 12 blocks, 21 to 32, to {tmp_path}/second.rlp"
    again = Commands(tmp_path / "again", BESU_GENESIS, capsys)
    assert again("import", "--seal-check", "none", tmp_path / "first.rlp.gz", tmp_path / "second.rlp") == 0
    assert again("export", tmp_path / "whole.blocks") == 0
    assert (tmp_path / "whole.blocks").read_bytes() == BESU_DUMP.read_bytes()


def test_era1_is_imported_with_its_receipts(tmp_path, capsys):
    datadir = tmp_path / "mainnet"
    arguments = ["--datadir", str(datadir), "--network", "mainnet", "--seal-check", "none"]
    assert main(["import", *arguments, str(ERA1)]) == 0
    assert "imported 8191 blocks in " in capsys.readouterr().out
    assert main(["verify", *arguments]) == 0
    head = "head 8191 0xa6860fefa339c963e1bb622526cc8dd4344eedd2a9b969e74de5cccc445fbed4"
    assert capsys.readouterr().out == f"verified 8192 blocks, {head}\n"
    store = LmdbChainStore.open(store_path(datadir), None, read_only=True)
    head_hash = store.heads().full_block.hash
    assert store.total_difficulty(head_hash) == 1344623723034024
    assert store.receipts([head_hash]) == [b"\xc0"]
    store.close()


def test_invalid_block_is_refused_by_number_and_rule_and_the_store_keeps_what_was_before(long, tmp_path):
    blocks = ruled_chain(GENESIS, 40)
    wrong = ruled_block(blocks[-1].header, seconds=0)
    parts = [join_block(block.header.header_rlp, block.body_rlp) for block in [*blocks, wrong]]
    write_dump(tmp_path / "bad.rlp", parts)
    assert long("import", "--seal-check", "none", tmp_path / "bad.rlp") == 1
    assert long.err.startswith(
        f"trisync: {tmp_path}/bad.rlp: refused: block 41 0x{wrong.header.hash.hex()[:8]}…: timestamp: "
    )
    assert long("verify", "--seal-check", "none") == 0
    assert long.out.startswith("verified 41 blocks, head 40 ")


@pytest.mark.parametrize("rule", ["transactions-root", "uncles-hash"])
def test_body_that_does_not_fit_its_header_is_refused(long, tmp_path, rule):
    blocks = ruled_chain(GENESIS, 5)
    body_rlp = b"\xc3\xc1\xc0\xc0" if rule == "transactions-root" else blocks[-1].body_rlp[:-1] + b"\xc1\xc0"
    body_rlp = bytes((blocks[-1].body_rlp[0] + 1,)) + body_rlp[1:] if rule == "uncles-hash" else body_rlp
    parts = [join_block(block.header.header_rlp, block.body_rlp) for block in blocks[:-1]]
    write_dump(tmp_path / "bad.rlp", [*parts, join_block(blocks[-1].header.header_rlp, body_rlp)])
    assert long("import", "--seal-check", "none", tmp_path / "bad.rlp") == 1
    assert f"refused: block 5 0x{blocks[-1].header.hash.hex()[:8]}…: {rule}: " in long.err


def test_block_with_a_bad_seal_is_refused(tmp_path, capsys):
    assert main(["import", "--datadir", str(tmp_path / "mainnet"), str(VECTORS / "ethash" / "besu-badpow.blocks")]) == 1
    assert "besu-badpow.blocks: refused: block 1 0xd7ba9ae1…: seal: " in capsys.readouterr().err


def test_cut_off_file_is_refused_and_leaves_the_store_untouched(besu, tmp_path):
    besu("init")
    before = besu.content()
    (tmp_path / "cut.rlp").write_bytes(BESU_DUMP.read_bytes()[:-10])
    assert besu("import", "--seal-check", "none", tmp_path / "cut.rlp") == 1
    where = "block 33 of the file (byte 22671)"
    assert besu.err == f"trisync: {tmp_path}/cut.rlp: {where}: the file is cut off, 10 bytes are missing"
    (tmp_path / "cut.era1").write_bytes(ERA1.read_bytes()[:1_000_000])
    assert besu("import", "--seal-check", "none", tmp_path / "cut.era1") == 1
    assert besu.err.startswith(f"trisync: {tmp_path}/cut.era1: byte 9")
    assert besu.content() == before


def test_chain_of_another_genesis_is_refused(besu, long):
    assert besu("import", "--seal-check", "none", ERA1) == 1
    assert "genesis mismatch: the file has 0xd4e56740" in besu.err
    long.datadir = besu.datadir
    assert long("verify") == 1
    assert "genesis mismatch: the store has 0x" in long.err


def test_blocks_without_their_parents_are_refused(besu):
    assert besu("import", "--seal-check", "none", CHAINS / "besu-46350-46399.blocks") == 1
    assert "refused: block 46350 0x1149d666…: parent: 0x02771aea" in besu.err


@pytest.mark.parametrize("command", [["export", "out.rlp"], ["verify"]])
def test_reading_commands_refuse_when_there_is_no_store(besu, command):
    assert besu(*command) == 1
    assert besu.err.endswith("there is no chain store here; `trisync init` makes one")
    assert not besu.datadir.exists()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["import"], "the following arguments are required: FILE"),
        (["import", "missing.rlp"], "missing.rlp: there is no such file"),
        (["import", "--seal-check", "clique", "missing.rlp"], "--seal-check clique does not fit"),
        (["verify", "--seal-check", "proof"], "invalid choice: 'proof'"),
        (["export", "out.rlp", "5", "3"], "blocks 5 to 3 are no range"),
        (["verify", "--network", "mainnet"], "not allowed with argument --genesis"),
        (["destroy"], "invalid choice: 'destroy'"),
    ],
)
def test_bad_usage_is_told_in_one_line_and_exit_code_2(besu, command, problem):
    besu("init")
    assert besu(*command) == 2
    assert problem in besu.err.splitlines()[-1]


def test_unknown_network_is_bad_usage(tmp_path, capsys):
    assert main(["init", "--datadir", str(tmp_path / "new"), "--network", "moonnet"]) == 2
    assert capsys.readouterr().err.startswith("trisync: unknown network 'moonnet'; built in are mainnet, ")
    assert not (tmp_path / "new").exists()


def test_genesis_file_that_cannot_be_read_fails_the_command(besu, tmp_path):
    besu.genesis = tmp_path / "none.json"
    assert besu("init") == 1
    assert besu.err.startswith(f"trisync: {tmp_path}/none.json")


def test_export_beyond_the_head_is_refused(besu, tmp_path):
    besu("init")
    assert besu("export", tmp_path / "out.rlp", 0, 7) == 1
    assert besu.err == "trisync: block 7 has no body here; the last one that has is 0"
    assert besu("export", tmp_path / "none" / "out.rlp") == 1
    assert "cannot be written: No such file or directory" in besu.err


def test_verify_tells_what_is_wrong_with_a_damaged_store(long, long_chain):
    long("import", "--seal-check", "none", long_chain / "chain.rlp")
    file = store_path(long.datadir) / "data.mdb"
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 8192 * 4096)
        opened.write(random.Random(1).randbytes(4096))
    assert long("verify", "--seal-check", "none") == 1
    assert "the store is damaged: " in long.err.splitlines()[-1]


def test_second_writer_is_refused_and_readers_are_not(long, long_chain):
    long("init")
    before = long.content()
    lock = WriterLock.acquire(store_path(long.datadir))
    importing = long.spawn("import", "--seal-check", "none", long_chain / "chain.rlp")
    verifying = long.spawn("verify", "--seal-check", "none")
    _, refusal = importing.communicate(timeout=60)
    assert importing.returncode == 1
    assert f"in use by another process (pid {os.getpid()}); stop it first" in refusal
    out, notice = verifying.communicate(timeout=60)
    assert verifying.returncode == 0
    assert out.startswith("verified 1 blocks, head 0 0x")
    assert "the store is in use" in notice
    lock.release()
    assert long.content() == before


@pytest.mark.parametrize("seed", range(3))
def test_store_is_whole_and_the_import_goes_on_when_it_was_killed(long, long_chain, seed):
    rng = random.Random(seed)
    arguments = ("--seal-check", "none", long_chain / "chain.rlp")
    for _ in range(2):
        interrupt(long, long.spawn("import", *arguments), rng.randrange(MOST_BYTES), signal.SIGKILL)
        if long.content():
            assert long("verify", "--seal-check", "none") == 0, long.err
    assert long("import", *arguments) == 0
    assert long("verify", "--seal-check", "none") == 0
    assert long.out.startswith(f"verified {LONG_BLOCKS + 1} blocks, head {LONG_BLOCKS} ")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_import_stops_cleanly_when_it_is_told_to(long, long_chain, stop):
    importing = long.spawn("import", "--seal-check", "none", long_chain / "chain.rlp")
    interrupt(long, importing, 1_000_000, stop)
    if importing.returncode:
        assert importing.returncode == 1
        assert importing.communicate()[1].strip().endswith("interrupted; the store keeps what was committed")
    assert long("verify", "--seal-check", "none") == 0


def interrupt(commands: Commands, process: subprocess.Popen[str], size_bytes: int, stop: signal.Signals) -> None:
    """Sends `stop` once the store has grown to `size_bytes`, or not at all when the command is quicker."""
    file = store_path(commands.datadir) / "data.mdb"
    while process.poll() is None:
        if file.exists() and file.stat().st_size >= size_bytes:
            process.send_signal(stop)
            break
        try:
            process.wait(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=60)
