"""The client for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

from trisync.block_feed import Step
from trisync.blocks import Propagation, SubmittedBlock
from trisync.client import block_calls, coordinator_calls, transaction_calls
from trisync.client.block_calls import Ranking
from trisync.client.calls import Lasting
from trisync.client.chain_place import STREAM_S
from trisync.client.channels import CALL_TIMEOUT_S
from trisync.client.connection import Connection, FollowedChain, Stream
from trisync.client.coordinator_calls import FeedContents, SyncAnswered
from trisync.client.errors import CoordinatorError
from trisync.credentials import Credentials
from trisync.disconnects import DisconnectList, Side
from trisync.node_status import (
    AddedPeer,
    NodeStatus,
    Peer,
    RemovedPeer,
    StoredBlock,
    StoredHeader,
    StoredReceipts,
)
from trisync.sync_explained import BestPeer, SyncExplanation
from trisync.transactions import Fate, PendingTransaction, PoolState, SubmittedTransaction


class Coordinator:
    """One coordinator, reached at `host:port` or `unix:/path`; for any number of threads at once.

    Nothing is sent before the first call, and a coordinator that was away is found again by itself. `timeout_s` is how
    long each call waits for its answer, in seconds. Hashes, node ids and addresses are raw bytes, difficulties plain
    numbers. Every method raises CoordinatorError when the call fails; its docstring names only what is special.
    Streams raise it while they are iterated over.
    """

    def __init__(
        self, address: str, credentials: Credentials | None = None, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        """Without credentials the coordinator has to be on this machine. Raises CredentialsBad."""
        self._connection = Connection(address, timeout_s, credentials or Credentials())
        self.blocks = Blocks(self._connection)
        self.transactions = Transactions(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and streams and let the connection go; further calls raise ValueError."""
        self._connection.close()

    def status(self) -> NodeStatus:
        """Where the node stands: heads, peers, the sync that runs."""
        return self._connection.perform(coordinator_calls.status())

    def watch_status(self, *, timeout_s: float | None = None) -> Stream[NodeStatus]:
        """The status at once and whenever it changed, at most four times a second; the newest for a slow reader.

        Ends only with CoordinatorError: when the coordinator goes, or after `timeout_s` seconds if that is given.
        """
        return self._connection.stream(coordinator_calls.watch_status(timeout_s))

    def peers(self) -> list[Peer]:
        """The peers of all gateways."""
        return self._connection.perform(coordinator_calls.peers())

    def disconnects(
        self, *, limit: int = 0, node_id: bytes | None = None, side: Side | None = None, offence: str | None = None
    ) -> DisconnectList:
        """The connections that ended, newest first. `limit` 0 is all that are kept; what is None does not filter.

        Raises ValueError for an offence that is not in `trisync.disconnects.OFFENCES`.
        """
        return self._connection.perform(coordinator_calls.disconnects(limit, node_id, side, offence))

    def block(self, block: int | bytes) -> StoredBlock | None:
        """A block by number (the canonical one) or hash; None when it is not stored."""
        return self._connection.perform(coordinator_calls.block(block))

    def header(self, block: int | bytes) -> StoredHeader | None:
        """A header by number (the canonical one) or hash; None when it is not stored."""
        return self._connection.perform(coordinator_calls.header(block))

    def receipts(self, block: int | bytes) -> StoredReceipts | None:
        """A block's receipts by number (of the canonical block) or hash; None when the block is not stored.

        Refused by a light node, which stores none.
        """
        return self._connection.perform(coordinator_calls.receipts(block))

    def canonical_hash(self, block: int | bytes) -> bytes | None:
        """The hash of the canonical block at this number, or at the number of the block with this hash.

        None when there is none, or no such block.
        """
        return self._connection.perform(coordinator_calls.canonical_hash(block))

    def stream_blocks(
        self,
        start: int | str,
        *,
        follow: bool = False,
        include_bodies: bool = False,
        include_receipts: bool = False,
        timeout_s: float | None = None,
    ) -> Stream[Step]:
        """The canonical chain from a number, or on from a cursor, as steps to take in their order.

        Ends at the end of the chain; with `follow` it waits there, and ends with CoordinatorError when the
        coordinator goes, or after `timeout_s` seconds if that is given. `follow_blocks` goes on by itself. Refused
        for what is no cursor of this chain, and for bodies or receipts of a light node.
        """
        contents, lasting = FeedContents(include_bodies, include_receipts), Lasting(timeout_s, follow)
        return self._connection.stream(coordinator_calls.stream_blocks(start, contents, lasting))

    def follow_blocks(
        self,
        start: int | str,
        *,
        include_bodies: bool = False,
        include_receipts: bool = False,
        patience_s: float | None = None,
        on_interruption: Callable[[CoordinatorError], None] | None = None,
    ) -> FollowedChain:
        """The canonical chain from a number, or on from a cursor, over restarts of the coordinator, without an end.

        Steps come once each, in their order; reorgs are undo steps. When a stream fails the next one goes on after
        the last step, within 5 s of the coordinator's return; `on_interruption` is told of each failure. Raises
        CoordinatorError for what will not be better later (a cursor whose block is not stored, bodies of a light
        node), and after `patience_s` seconds of failures if that is given.
        """

        def open_at(place: int | str) -> Stream[Step]:
            contents = FeedContents(include_bodies, include_receipts)
            return self._connection.stream(
                coordinator_calls.stream_blocks(place, contents, Lasting(STREAM_S, endless=True))
            )

        return FollowedChain(start, open_at, patience_s=patience_s, on_interruption=on_interruption)

    def start_sync(self) -> SyncAnswered:
        """Ask for a sync now, whatever the number of peers; the text explains the answer."""
        return self._connection.perform(coordinator_calls.start_sync())

    def best_peer(self, limit: int = 0) -> BestPeer:
        """Whom the next sync would follow, and why not the others; at most `limit` are listed, 0 is 100."""
        return self._connection.perform(coordinator_calls.best_peer(limit))

    def explain_sync(self) -> SyncExplanation:
        """Why no sync runs, or which one does; when the next is due; what the last ones did."""
        return self._connection.perform(coordinator_calls.explain_sync())

    def add_peer(self, enode: str) -> AddedPeer:
        """Keep a node connected, as geth's `admin.addPeer`. Refused for what is no enode URL that can be dialled."""
        return self._connection.perform(coordinator_calls.add_peer(enode))

    def remove_peer(self, enode: str) -> RemovedPeer:
        """Let a static node go and disconnect it, as geth's `admin.removePeer`."""
        return self._connection.perform(coordinator_calls.remove_peer(enode))

    def add_trusted_peer(self, enode: str) -> bool:
        """Let a node connect when all places are taken; whether it is connected already."""
        return self._connection.perform(coordinator_calls.add_trusted_peer(enode))

    def remove_trusted_peer(self, enode: str) -> bool:
        """Trust a node no more, and leave its connection alone; whether it was trusted."""
        return self._connection.perform(coordinator_calls.remove_trusted_peer(enode))


class Blocks:
    """New blocks, and how they spread: `Coordinator.blocks`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, block_rlp: bytes) -> SubmittedBlock:
        """Hand in a new block, as the RLP of [header, transactions, uncles]; returns once peers were told of it.

        Waits up to 60 s, because its seal may need an epoch's cache. Refused, with the rule it breaks, are a block
        that is invalid, and one whose parent is not stored or whose time has not come.
        """
        return self._connection.perform(block_calls.submit(block_rlp))

    def propagation(self, block_hash: bytes | None = None) -> Propagation | None:
        """How a block spread, or the newest one; None when it is not among the last 2,000."""
        return self._connection.perform(block_calls.propagation(block_hash))

    def watch_propagations(
        self, newest: int = 0, *, follow: bool = False, timeout_s: float | None = None
    ) -> Stream[Propagation]:
        """The newest blocks, 2,000 at most, oldest first; with `follow` then each block once all peers were told of it.

        A reader that is too slow is cut off with CoordinatorError. `timeout_s` seconds after its start the stream
        fails, if that is given.
        """
        return self._connection.stream(block_calls.watch_propagations(newest, Lasting(timeout_s, follow)))

    def rank_peers(self, limit: int = 0) -> Ranking:
        """Peers by how often they were first with one of the last 2,000 blocks, at most `limit`; 0 is 100."""
        return self._connection.perform(block_calls.rank_peers(limit))


class Transactions:
    """Pending transactions: `Coordinator.transactions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, raw: bytes) -> SubmittedTransaction:
        """Pool a signed transaction and send it to all peers.

        `raw` is as its signer made it: the list of a legacy transaction, or the type and payload of an EIP-2718 one.
        Refused, with the rule, is one that is invalid; and one for which the pool has no place, or before the first
        sync is done.
        """
        return self._connection.perform(transaction_calls.submit(raw))

    def pools(self) -> list[PoolState]:
        """How full the pool of each broadcaster is."""
        return self._connection.perform(transaction_calls.pools())

    def pending(self, *, sender: bytes = b"", with_raw: bool = False) -> Iterator[PendingTransaction]:
        """What is pooled, by sender and nonce; of one sender (20 bytes) alone if given.

        With several broadcasters one pool comes after the other, so that a transaction may come twice.
        """
        token: str | None = ""
        while token is not None:
            page = self._connection.perform(transaction_calls.pending_page(sender, token, with_raw=with_raw))
            yield from page.transactions
            token = page.next_token or None

    def watch(self, transaction_hash: bytes, *, timeout_s: float | None = None) -> Stream[Fate]:
        """Where a transaction stands, at once and whenever that changes; the newest for a slow reader.

        Ends only with CoordinatorError: when the coordinator goes, or after `timeout_s` seconds if that is given.
        """
        return self._connection.stream(transaction_calls.watch(transaction_hash, timeout_s))
