"""Index blocks and their transactions into SQLite, so that a transaction's block is one look-up away.

    python examples/index_blocks.py chain.sqlite --coordinator 127.0.0.1:7450
    sqlite3 chain.sqlite "SELECT block FROM transactions WHERE hash = x'…'"

Each step of the feed and its cursor are one transaction of the database: whenever this program or the node is
stopped, by kill or power cut too, the next run goes on after the last step that the database has. A reorg takes the
blocks that left the chain away before those that joined it come.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys

import rlp
from sha3 import keccak_256

from trisync.client import Apply, Coordinator, CoordinatorError, Step, Undo

SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, total_difficulty TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (hash BLOB NOT NULL, block INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS transactions_by_hash ON transactions (hash);
CREATE INDEX IF NOT EXISTS transactions_by_block ON transactions (block);
CREATE TABLE IF NOT EXISTS place (id INTEGER PRIMARY KEY CHECK (id = 0), cursor TEXT NOT NULL);
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Index blocks and their transactions into SQLite.")
    parser.add_argument("database", help="the file; made when it is not there")
    parser.add_argument("--coordinator", default="127.0.0.1:7450", metavar="ADDRESS", help="host:port or unix:/path")
    parser.add_argument("--until", type=int, metavar="BLOCK", help="stop once this block is indexed")
    options = parser.parse_args()
    try:
        # Each `with database` below is one transaction. A power cut may lose the newest ones, whole.
        database = sqlite3.connect(options.database)
        database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + SCHEMA)
        with Coordinator(options.coordinator) as node:
            index(node, database, options.until)
    except (CoordinatorError, sqlite3.Error) as error:
        print(f"index_blocks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def index(node: Coordinator, database: sqlite3.Connection, until: int | None) -> None:
    row = database.execute("SELECT cursor FROM place").fetchone()
    steps = node.follow_blocks(row[0] if row else 0, include_bodies=True, on_interruption=tell)
    for step in steps:
        with database:
            take(step, database)
        if isinstance(step, Undo):
            print(f"block {step.number} 0x{step.block_hash.hex()} left the chain", flush=True)
        elif step.head.number == until:
            print(f"indexed up to block {until} 0x{step.head.block_hash.hex()}", flush=True)
            return


def take(step: Step, database: sqlite3.Connection) -> None:
    match step:
        case Apply(head=head):
            row = (head.number, head.block_hash, str(head.total_difficulty))
            database.execute("INSERT INTO blocks VALUES (?, ?, ?)", row)
            hashes = [(transaction_hash, head.number) for transaction_hash in transaction_hashes(step.body_rlp or b"")]
            database.executemany("INSERT INTO transactions VALUES (?, ?)", hashes)
        case Undo(number=number, block_hash=block_hash):
            database.execute("DELETE FROM transactions WHERE block = ?", (number,))
            gone = database.execute("DELETE FROM blocks WHERE number = ? AND hash = ?", (number, block_hash))
            assert gone.rowcount == 1, f"block {number} is not the one that is undone"
    database.execute("INSERT OR REPLACE INTO place VALUES (0, ?)", (step.cursor,))


def transaction_hashes(body_rlp: bytes) -> list[bytes]:
    """A body is [transactions, uncles]; a typed transaction (EIP-2718) is a string, a legacy one a list."""
    if not body_rlp:
        return []
    transactions, _ = rlp.decode(body_rlp)
    raws = [one if isinstance(one, bytes) else rlp.encode(one) for one in transactions]
    return [keccak_256(raw).digest() for raw in raws]


def tell(error: CoordinatorError) -> None:
    print(f"index_blocks: {error}; trying again", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
