"""What chance decides about one simulated sync: the limits, the chains, the peers and how they are connected."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import SyncMode
from tests.support.chain_maker import MadeChain, made_genesis
from tests.support.sim_peers import SimPeer
from tests.support.sim_sync import SMALL, SimSync

MODES: Final[Sequence[SyncMode]] = tuple(SyncMode)
"""Every scenario is run in each of these."""

ETH_VERSIONS: Final = (62, 63)
"""What gateways speak."""

RECEIPTS_SINCE: Final = 63
"""Earlier versions have neither receipts nor state to ask for."""

LONGEST: Final = 420
"""The head of the longest chain that is drawn: several skeletons of the small limits, and a tail."""

EMPTY_EVERY: Final = (1, 2, 3, 5, 1000)
"""One block in so many is empty."""


class DrawnSync:
    """One seed's world. Whatever is drawn follows from the seed, the mode and the order of the calls."""

    def __init__(self, seed: int, mode: SyncMode) -> None:
        self.seed, self.mode = seed, mode
        self.rng = random.Random(f"{seed} {mode.name}")
        self.config = self._config()
        self.branches = 0

    @property
    def is_fast(self) -> bool:
        """Whether receipts and state are needed too."""
        return self.mode.value == "fast"

    def sim(self, *, import_seconds: float | None = None) -> SimSync:
        """A node that has nothing yet."""
        pace = self.rng.choice((0.0, 0.0005, 0.005, 0.02)) if import_seconds is None else import_seconds
        return SimSync(self.seed, self.mode, config=self.config, import_seconds=pace)

    def chain(self, least: int = 1, most: int = LONGEST, *, most_empty: int = 1) -> MadeChain:
        """A chain whose head is in these limits, with one empty block in `most_empty` or fewer."""
        empty_every = self.rng.choice([each for each in EMPTY_EVERY if each >= most_empty])
        return _longest(empty_every).shortened(self._length(least, most))

    def branch(self, base: MadeChain, count: int, *, difficulty: int = 1000) -> MadeChain:
        """`base` with `count` blocks that no other drawn chain has."""
        self.branches += 1
        empty_every = self.rng.choice(EMPTY_EVERY)
        return base.extended(count, branch=self.branches, difficulty=difficulty, empty_every=empty_every)

    def peer(self, name: str, chain: MadeChain, **fixed: Any) -> SimPeer:
        """An honest peer, near or far, fast or slow, of either version; what is `fixed` is not drawn."""
        return SimPeer(name, chain, **{**self.temper(), **fixed})

    def peers(self, chain: MadeChain, least: int, most: int, **fixed: Any) -> list[SimPeer]:
        """Some peers that have all of `chain`."""
        return [self.peer(f"peer {index}", chain, **fixed) for index in range(self.rng.randint(least, most))]

    def temper(self) -> dict[str, Any]:
        """How a peer is connected, and of which version: one that has all that the mode needs."""
        nearest = self.rng.choice((0.001, 0.02, 0.1, 0.4))
        versions = [version for version in ETH_VERSIONS if version >= RECEIPTS_SINCE or not self.is_fast]
        return {
            "eth_version": self.rng.choice(versions),
            "latency": (nearest, nearest * self.rng.uniform(1, 6)),
            "seconds_per_item": self.rng.choice((0.0, 0.0005, 0.004)),
            "bodies_per_reply": self.rng.choice((1, 4, 128)),
        }

    def _length(self, least: int, most: int) -> int:
        """Often next to where a gap or a skeleton ends, where one too many or too few matters."""
        if self.rng.random() < 0.5:
            return self.rng.randint(least, most)
        size = self.config.headers_per_request * self.rng.choice((1, self.config.skeleton_anchors))
        edge = size * self.rng.randint(1, max(1, most // size)) + self.rng.randint(-1, 1)
        return min(max(edge, least), most)

    def _config(self) -> DownloaderConfig:
        headers = self.rng.choice((8, 16, 24))
        return replace(
            SMALL,
            headers_per_request=headers,
            skeleton_anchors=self.rng.choice((2, 5, 8)),
            bodies_per_request=self.rng.choice((4, 16, 64)),
            fills_per_peer=self.rng.choice((1, 4)),
            max_queued_headers=headers * self.rng.choice((3, 8, 40)),
            # A fast sync keeps what it needs to move its pivot, whatever the limit.
            max_assembled_blocks=self.rng.choice((64, 100, 200) if self.is_fast else (20, 64, 200)),
            import_batch=self.rng.choice((7, 32, 100)),
            rollback_headers=self.rng.choice((10, 64, 500)),
            hold_back_distance=self.rng.choice((3, 10, 48)),
        )


@lru_cache(maxsize=len(EMPTY_EVERY))
def _longest(empty_every: int) -> MadeChain:
    return made_genesis().extended(LONGEST, branch=1000 + empty_every, empty_every=empty_every)
