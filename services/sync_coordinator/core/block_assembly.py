"""Blocks in the making: headers in order, and the bodies that arrive for them (SPEC section 4, step 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.types import Block, Header
from services.sync_coordinator.core.downloader_config import DownloaderConfig

EMPTY_BODY_RLP: Final = b"\xc2\xc0\xc0"
"""[[], []]: no transactions, no uncles."""

SIZE_IMPACT: Final = 0.1
"""Weight of one block in the moving average of block sizes."""

FRONT_BODIES: Final = 16
"""Bodies that may be asked for although memory is full, when the first of them is what import waits for."""


class BlockAssembly:
    """A window of the chain: from the block import waits for, up to the newest whose body may be asked for.

    Bounded twice. At most `max_assembled_blocks` are in the window or with the importer; and bodies are
    asked for only while those here, with the importer and on their way are thought to fit
    `max_assembled_bytes`.
    """

    def __init__(self, config: DownloaderConfig) -> None:
        self._max_blocks, self._max_bytes = config.max_assembled_blocks, config.max_assembled_bytes
        self._headers: deque[Header] = deque()
        self._bodies: dict[int, bytes] = {}
        self._importing_blocks = 0
        self._bytes = 0
        self._average_bytes = 0.0
        self.importing_bytes = 0
        """Encoded size of what the importer took last and is not done with."""

    def __len__(self) -> int:
        """Blocks in the window, with or without a body."""
        return len(self._headers)

    @property
    def waiting(self) -> int:
        """Blocks with a body, here or with the importer."""
        return len(self._bodies) + self._importing_blocks

    @property
    def size_bytes(self) -> int:
        """Encoded size of those."""
        return self._bytes + self.importing_bytes

    @property
    def is_full(self) -> bool:
        """Whether what is here and with the importer leaves no room for another block."""
        return self.waiting >= self._max_blocks or self.size_bytes + self._average_bytes > self._max_bytes

    def room(self) -> int:
        """How many more headers `open` may get."""
        return self._max_blocks - len(self._headers) - self._importing_blocks

    def body_budget(self, in_flight: int, first_pending: Header | None) -> int:
        """How many more bodies may be asked for while `in_flight` are on their way.

        The body that import waits for may always be asked for, with a few after it: nothing else frees memory.
        """
        budget = self._max_blocks
        if self._average_bytes:
            budget = int((self._max_bytes - self.size_bytes) / self._average_bytes) - in_flight
        if first_pending is not None and self._headers and first_pending.number == self._headers[0].number:
            return max(budget, FRONT_BODIES)
        return budget

    def open(self, headers: Sequence[Header]) -> list[Header]:
        """Move the window up over `headers`; returns those whose body is needed. Empty ones are complete at once."""
        self._headers.extend(headers)
        needed = []
        for header in headers:
            if header.transactions_root == EMPTY_TRIE_ROOT and header.uncles_hash == EMPTY_LIST_HASH:
                self._bodies[header.number] = EMPTY_BODY_RLP
                self._bytes += len(header.header_rlp) + len(EMPTY_BODY_RLP)
            else:
                needed.append(header)
        return needed

    def add_body(self, header: Header, body_rlp: bytes) -> None:
        """Complete a block. Caller's duty: `header` is in the window, lacks its body, and the roots are equal."""
        self._bodies[header.number] = body_rlp
        size = len(header.header_rlp) + len(body_rlp)
        self._bytes += size
        self._average_bytes += SIZE_IMPACT * (size - self._average_bytes) if self._average_bytes else size

    def take(self, most: int) -> list[Block]:
        """Hand the oldest complete blocks over to the importer; `on_imported` frees their memory."""
        blocks: list[Block] = []
        headers, bodies = self._headers, self._bodies
        size = 0
        while headers and len(blocks) < most:
            header = headers[0]
            body_rlp = bodies.pop(header.number, None)
            if body_rlp is None:
                break
            headers.popleft()
            blocks.append(Block(header, body_rlp))
            size += len(header.header_rlp) + len(body_rlp)
        self._importing_blocks, self.importing_bytes = len(blocks), size
        self._bytes -= size
        return blocks

    def on_imported(self) -> None:
        """The importer is done with what it took."""
        self._importing_blocks, self.importing_bytes = 0, 0
