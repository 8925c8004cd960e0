"""Blocks in the making: headers in order, and the bodies and receipts that arrive for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import EMPTY_BODY_RLP, EMPTY_RECEIPTS_RLP
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.downloader_config import DownloaderConfig

SIZE_IMPACT: Final = 0.1
"""Weight of one block in the moving average of block sizes."""

FRONT_BODIES: Final = 16
"""Bodies that may be asked for although memory is full, when the first of them is what import waits for."""


class Assembled(NamedTuple):
    """Complete blocks in order, and the receipts of those that have any."""

    blocks: Sequence[Block]
    receipts: Mapping[BlockHash, bytes]
    size_bytes: int


class Needed(NamedTuple):
    """Headers whose block is not complete by itself."""

    bodies: Sequence[Header]
    receipts: Sequence[Header]


class _Contents:
    """One kind of content of the window's blocks, by block number."""

    __slots__ = ("average_bytes", "here", "size_bytes")

    def __init__(self) -> None:
        self.here: dict[int, bytes] = {}
        self.size_bytes = 0
        self.average_bytes = 0.0

    def add(self, number: int, content_rlp: bytes, size: int) -> None:
        self.here[number] = content_rlp
        self.size_bytes += size
        self.average_bytes += SIZE_IMPACT * (size - self.average_bytes) if self.average_bytes else size


class BlockAssembly:
    """A window of the chain: from the block import waits for, up to the newest whose body may be asked for.

    Bounded twice. At most `max_assembled_blocks` are in the window or with the importer; and bodies (and
    receipts, where a block needs them to be complete) are asked for only while those here, with the
    importer and on their way are thought to fit `max_assembled_bytes`.
    """

    def __init__(self, config: DownloaderConfig, *, with_receipts: bool = False) -> None:
        self._max_blocks, self._max_bytes = config.max_assembled_blocks, config.max_assembled_bytes
        self._headers: deque[Header] = deque()
        self._bodies = _Contents()
        self._receipts = _Contents() if with_receipts else None
        self._complete = 0
        self._newest_assembled = 0
        self._importing_blocks = 0
        self.importing_bytes = 0
        """Encoded size of what the importer took last and is not done with."""
        self.urgent_to = 0
        """Blocks up to this number are taken in and asked for although the bounds are reached."""

    def __len__(self) -> int:
        """Blocks in the window, complete or not."""
        return len(self._headers)

    @property
    def incomplete(self) -> int:
        """Blocks in the window that lack something."""
        return len(self._headers) - self._complete

    @property
    def waiting(self) -> int:
        """Complete blocks, here or with the importer."""
        return self._complete + self._importing_blocks

    @property
    def size_bytes(self) -> int:
        """Encoded size of all that is here or with the importer."""
        size = self._bodies.size_bytes + self.importing_bytes
        return size if self._receipts is None else size + self._receipts.size_bytes

    @property
    def is_full(self) -> bool:
        """Whether what is here and with the importer leaves no room for another block."""
        average = self._bodies.average_bytes + (self._receipts.average_bytes if self._receipts is not None else 0.0)
        return self.waiting >= self._max_blocks or self.size_bytes + average > self._max_bytes

    @property
    def first_number(self) -> int:
        """Number of the oldest block in the window; 0 when it is empty."""
        return self._headers[0].number if self._headers else 0

    @property
    def newest_assembled(self) -> int:
        """Number of the last block that is complete and follows only complete ones; 0 before there is one."""
        number = self._newest_assembled + 1
        bodies, receipts = self._bodies.here, self._receipts
        while number in bodies and (receipts is None or number in receipts.here):
            number += 1
        self._newest_assembled = number - 1
        return self._newest_assembled

    def room(self) -> int:
        """How many more headers `open` may get."""
        room = self._max_blocks - len(self._headers) - self._importing_blocks
        return max(room, self.urgent_to - self._headers[-1].number) if self._headers else room

    def body_budget(self, in_flight: int, first_pending: Header | None) -> int:
        """How many more bodies may be asked for while `in_flight` are on their way.

        The body that import waits for may always be asked for, with a few after it: nothing else frees memory.
        """
        return self._budget(self._bodies, in_flight, first_pending)

    def receipts_budget(self, in_flight: int, first_pending: Header | None) -> int:
        """As `body_budget`, in blocks whose receipts may be asked for."""
        assert self._receipts is not None
        return self._budget(self._receipts, in_flight, first_pending)

    def open(self, headers: Sequence[Header]) -> Needed:
        """Move the window up over `headers`; returns those whose contents are needed. Empty ones are here at once."""
        if headers and not self._headers:
            self._newest_assembled = max(self._newest_assembled, headers[0].number - 1)
        self._headers.extend(headers)
        bodies = []
        for header in headers:
            if header.transactions_root == EMPTY_TRIE_ROOT and header.uncles_hash == EMPTY_LIST_HASH:
                self._bodies.here[header.number] = EMPTY_BODY_RLP
                self._bodies.size_bytes += len(header.header_rlp) + len(EMPTY_BODY_RLP)
                self._count_complete(header.number, self._receipts)
            else:
                bodies.append(header)
        return Needed(bodies, self._open_receipts(headers) if self._receipts is not None else ())

    def add_body(self, header: Header, body_rlp: bytes) -> None:
        """Complete a block. Caller's duty: `header` is in the window, lacks its body, and the roots are equal."""
        self._bodies.add(header.number, body_rlp, len(header.header_rlp) + len(body_rlp))
        self._count_complete(header.number, self._receipts)

    def add_receipts(self, header: Header, receipts_rlp: bytes) -> None:
        """As `add_body`, for receipts."""
        assert self._receipts is not None
        self._receipts.add(header.number, receipts_rlp, len(receipts_rlp))
        self._count_complete(header.number, self._bodies)

    def header(self, number: int) -> Header:
        """Caller's duty: the block is in the window."""
        return self._headers[number - self._headers[0].number]

    def take(self, most: int, *, up_to: int | None = None) -> Assembled:
        """Hand the oldest complete blocks, none above `up_to`, over to the importer; `on_imported` frees their memory.

        Caller's duty: the importer is done with what it took before.
        """
        blocks: list[Block] = []
        kept: dict[BlockHash, bytes] = {}
        headers, bodies, receipts = self._headers, self._bodies.here, self._receipts
        size = receipts_size = 0
        while headers and len(blocks) < most:
            header = headers[0]
            number = header.number
            if (up_to is not None and number > up_to) or (receipts is not None and number not in receipts.here):
                break
            body_rlp = bodies.pop(number, None)
            if body_rlp is None:
                break
            headers.popleft()
            blocks.append(Block(header, body_rlp))
            size += len(header.header_rlp) + len(body_rlp)
            if receipts is not None:
                receipts_rlp = receipts.here.pop(number)
                receipts_size += len(receipts_rlp)
                if header.receipts_root != EMPTY_TRIE_ROOT:
                    kept[header.hash] = receipts_rlp
        self._bodies.size_bytes -= size
        if receipts is not None:
            receipts.size_bytes -= receipts_size
        self._complete -= len(blocks)
        if blocks:
            self._newest_assembled = max(self._newest_assembled, blocks[-1].header.number)
        self._importing_blocks, self.importing_bytes = len(blocks), size + receipts_size
        return Assembled(blocks, kept, size + receipts_size)

    def on_imported(self) -> None:
        """The importer is done with what it took."""
        self._importing_blocks, self.importing_bytes = 0, 0

    def _open_receipts(self, headers: Sequence[Header]) -> list[Header]:
        assert self._receipts is not None
        needed = []
        for header in headers:
            if header.receipts_root == EMPTY_TRIE_ROOT:
                self._receipts.here[header.number] = EMPTY_RECEIPTS_RLP
                self._receipts.size_bytes += len(EMPTY_RECEIPTS_RLP)
                self._count_complete(header.number, self._bodies)
            else:
                needed.append(header)
        return needed

    def _count_complete(self, number: int, other: _Contents | None) -> None:
        """One kind of content is here now; the block is complete if the `other` kind, where it needs one, is too."""
        self._complete += other is None or number in other.here

    def _budget(self, contents: _Contents, in_flight: int, first_pending: Header | None) -> int:
        budget = self._max_blocks
        if contents.average_bytes:
            budget = int((self._max_bytes - self.size_bytes) / contents.average_bytes) - in_flight
        if first_pending is not None and self._headers:
            number = first_pending.number
            if number == self._headers[0].number or number <= self.urgent_to:
                return max(budget, FRONT_BODIES)
        return budget
