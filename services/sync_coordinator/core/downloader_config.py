"""The downloader's numbers. Defaults are geth's, from `eth/downloader` of 1.8, unless said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.shared.ethwire.limits import (
    MAX_BODIES_PER_REPLY,
    MAX_HEADERS_PER_REPLY,
    MAX_NODE_DATA_PER_REPLY,
    MAX_RECEIPTS_PER_REPLY,
)

PIVOT_MOVES_AFTER: Final = 2
"""A pivot moves once the newest assembled block is more than this many pivot distances above it (geth)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloaderConfig:
    """Checked when built; share one between a node's `DownloadPeers` and its downloaders."""

    headers_per_request: int = MAX_HEADERS_PER_REPLY
    """Headers asked for at once, and the distance of two skeleton anchors."""

    skeleton_anchors: int = 128
    """Anchors of one skeleton: 128 x 192 headers are filled between two questions to the master."""

    bodies_per_request: int = MAX_BODIES_PER_REPLY
    """Bodies asked for at once, however fast the peer."""

    receipts_per_request: int = MAX_RECEIPTS_PER_REPLY
    """Blocks whose receipts are asked for at once, however fast the peer."""

    state_per_request: int = MAX_NODE_DATA_PER_REPLY
    """State entries asked for at once, however fast the peer."""

    pivot_distance: int = 64
    """Blocks between a fast sync's pivot and the head: they are fetched in full (geth fsMinFullBlocks)."""

    fills_per_peer: int = 4
    """Header fills one peer may have open (ours; geth 1): fills are small, the round trip is what costs."""

    requests_per_peer: int = 3
    """Requests of each other kind one peer may have open (ours; geth 1): the peer reads one reply from its disk and
    the gateway hashes another while a third is imported. A fourth brought nothing more."""

    span_probes: int = 12
    """Headers of the first look for the common ancestor."""

    span_step_min: int = 2
    """Smallest distance of two probes: heads mostly differ by a block or two."""

    span_step_max: int = 16
    """Largest distance of two probes: the master's last 192 blocks are looked at."""

    max_fork_depth: int = 90_000
    """A common ancestor this far below our head is refused: three epochs of 30,000."""

    hold_back_headers: int = 2
    """Newest headers of the tail left out while we are far from the head: mini-reorgs replace them."""

    hold_back_distance: int = 48
    """Within this many blocks of the master's newest header, everything is taken."""

    tail_retry_s: float = 3.0
    """When to ask again after all of a tail reply was held back."""

    max_queued_headers: int = 32 * 1024
    """Headers held that are not yet a block or with the importer: bounds memory, about 2 KB each."""

    max_assembled_blocks: int = 8192
    """Blocks that may be in the making between the last imported one and the newest body asked for."""

    max_assembled_bytes: int = 64 * 1024 * 1024
    """Encoded size of the blocks that wait for import or are being imported."""

    import_batch: int = 2048
    """Most blocks or headers in one batch. One batch is out at a time, and none waits to be filled."""

    state_commit: int = 1024
    """State entries that make a commit (ours): a commit waits for the disk, whatever its size."""

    state_commit_bytes: int = 256 * 1024
    """Or entries of this size."""

    state_commit_wait_s: float = 1.0
    """How long complete entries may wait for more of them: what is not stored is fetched again after a restart."""

    max_waiting_commits: int = 16
    """State commits' worth of complete entries that may wait for the disk; then no more state is asked for."""

    rollback_headers: int = 2048
    """Newest headers of a failed fast or light sync that are forgotten."""

    lacking_per_peer: int = 4096
    """Parts of one kind a peer is remembered not to have; the oldest are forgotten."""

    lost_request_pause_s: float = 1.0
    """How long a peer is spared after a request to it was lost on our side (ours)."""

    rtt_min_s: float = 2.0
    """Shortest round trip aimed at: batches below it would only add overhead."""

    rtt_max_s: float = 20.0
    """Longest round trip aimed at, and the first guess."""

    request_timeout_max_s: float = 60.0
    """No request may take longer, whatever the estimate."""

    def __post_init__(self) -> None:
        self._check("headers_per_request", 1, MAX_HEADERS_PER_REPLY)
        self._check("skeleton_anchors", 1, MAX_HEADERS_PER_REPLY)
        self._check("bodies_per_request", 1, MAX_BODIES_PER_REPLY)
        self._check("receipts_per_request", 1, MAX_RECEIPTS_PER_REPLY)
        self._check("pivot_distance", 1, None)
        self._check("state_per_request", 1, MAX_NODE_DATA_PER_REPLY)
        self._check("span_probes", 2, MAX_HEADERS_PER_REPLY)
        self._check("span_step_min", 1, self.span_step_max)
        self._check("hold_back_headers", 0, self.headers_per_request - 1)
        self._check("max_queued_headers", self.headers_per_request, None)
        for field in (
            "fills_per_peer",
            "requests_per_peer",
            "max_fork_depth",
            "max_assembled_blocks",
            "max_assembled_bytes",
            "import_batch",
            "state_commit",
            "state_commit_bytes",
            "max_waiting_commits",
            "rollback_headers",
            "lacking_per_peer",
        ):
            self._check(field, 1, None)
        if not 0 < self.rtt_min_s <= self.rtt_max_s:
            raise ValueError(f"rtt_min_s={self.rtt_min_s} not in 0..rtt_max_s={self.rtt_max_s}")
        for field in ("request_timeout_max_s", "tail_retry_s", "lost_request_pause_s", "state_commit_wait_s"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be above 0")

    def _check(self, field: str, least: int, most: int | None) -> None:
        value: int = getattr(self, field)
        if value < least or (most is not None and value > most):
            raise ValueError(f"{field}={value} not in {least}..{'' if most is None else most}")
