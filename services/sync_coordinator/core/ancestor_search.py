"""The start of a sync: the master's height, and the newest block we share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView, has_full_block
from services.sync_coordinator.core.sync_actions import SyncMode, SyncPhase
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import followed_head


class HeaderQuestion(NamedTuple):
    """Headers to ask the master for: `amount` of them, `step` numbers apart."""

    origin: BlockHash | int
    amount: int
    step: int = 1


class CommonAncestor(NamedTuple):
    """The newest block known to be on both chains."""

    number: int
    block_hash: BlockHash


def span_question(config: DownloaderConfig, remote_height: int, local_height: int) -> HeaderQuestion:
    """The numbers to look at first: evenly spread, up to the block below the master's head.

    They reach down to our own head if it is near, else as far as the probes go.
    """
    top = max(remote_height - 1, 0)
    distance = top - max(local_height - 1, 0)
    step = min(max(1 + distance // config.span_probes, config.span_step_min), config.span_step_max)
    amount = min(max(1 + distance // step, 2), config.span_probes)
    return HeaderQuestion(max(top - (amount - 1) * step, 0), amount, step)


class AncestorSearch:
    """A dialogue with the master: ask `question`, pass the reply to `on_reply`, until `ancestor` is there.

    The span looks at the newest blocks. Where none is known, a binary search between the oldest block
    that may be undone and the lower of the two heads takes over.
    """

    def __init__(self, config: DownloaderConfig, mode: SyncMode, chain: ChainView, head_hash: BlockHash) -> None:
        self._config, self._mode, self._chain = config, mode, chain
        self._local_height = chain.heads().of(followed_head(mode)).number
        self._floor = self._local_height - config.max_fork_depth
        """Blocks at or below this number are not undone; below zero, all may be."""
        self._known_below, self._unknown_from = 0, 0
        self._known_hash: BlockHash | None = None
        self.phase = SyncPhase.HEIGHT
        self.question = HeaderQuestion(head_hash, 1)
        self.height: Header | None = None
        """The master's head, once it told."""
        self.ancestor: CommonAncestor | None = None

    def on_reply(self, headers: Sequence[Header]) -> None:
        """Take the reply to `question`. Raises SyncFailed when it cannot be right."""
        if self.height is None:
            self._on_height(headers)
        elif self.question.amount > 1:
            self._on_span(headers)
        else:
            self._on_probe(headers)

    def _on_height(self, headers: Sequence[Header]) -> None:
        if len(headers) != 1:
            raise SyncFailed(SyncFault.BAD_PEER, f"{len(headers)} headers came for its head, 1 was asked")
        if headers[0].hash != self.question.origin:
            raise SyncFailed(SyncFault.BAD_PEER, f"another header came for its head: 0x{headers[0].hash.hex()}")
        self.height = headers[0]
        self.phase = SyncPhase.ANCESTOR
        self.question = span_question(self._config, self.height.number, self._local_height)

    def _on_span(self, headers: Sequence[Header]) -> None:
        assert self.height is not None
        self._check_numbers(headers)
        for header in reversed(headers):
            if self._is_known(header):
                self._finish(header.number, header.hash)
                return
        self._known_below = max(self._floor, 0)
        self._unknown_from = min(self.height.number, self._local_height + 1)
        self._narrow()

    def _on_probe(self, headers: Sequence[Header]) -> None:
        self._check_numbers(headers)
        header = headers[0]
        if self._is_known(header):
            self._known_below, self._known_hash = header.number, header.hash
        else:
            self._unknown_from = header.number
        self._narrow()

    def _narrow(self) -> None:
        if self._known_below + 1 < self._unknown_from:
            self.question = HeaderQuestion((self._known_below + self._unknown_from) // 2, 1)
        else:
            self._finish(self._known_below, self._known_hash)

    def _finish(self, number: int, block_hash: BlockHash | None) -> None:
        if self._floor >= 0 and number <= self._floor:
            raise SyncFailed(
                SyncFault.INVALID_ANCESTOR, f"the common ancestor {number} is not above the allowed {self._floor}"
            )
        block_hash = block_hash if block_hash is not None else self._chain.canonical_hash(number)
        assert block_hash is not None, "genesis is always known"
        self.ancestor = CommonAncestor(number, block_hash)

    def _check_numbers(self, headers: Sequence[Header]) -> None:
        """The reply holds exactly the numbers asked, the newest of which the master may not have."""
        origin, amount, step = self.question
        assert isinstance(origin, int)
        if not headers:
            raise SyncFailed(SyncFault.EMPTY_HEADER_SET, f"no headers came from {origin} on")
        if len(headers) > amount:
            fault = SyncFault.BAD_PEER if amount == 1 else SyncFault.INVALID_CHAIN
            raise SyncFailed(fault, f"{len(headers)} headers came, {amount} were asked")
        for index, header in enumerate(headers):
            if header.number != origin + index * step:
                raise SyncFailed(
                    SyncFault.INVALID_CHAIN, f"header {header.number} came, {origin + index * step} was asked"
                )

    def _is_known(self, header: Header) -> bool:
        if self._mode is SyncMode.LIGHT:
            return self._chain.total_difficulty(header.hash) is not None
        if self._mode is SyncMode.FAST:
            return self._chain.has_body(header.hash)
        return has_full_block(self._chain, header.hash)
