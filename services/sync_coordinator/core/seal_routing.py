"""Which ethash epochs have a worker, when the next one's is started ahead, and when an old one's ends.

A worker has the cache of one epoch and lives as long as that is of use, so no cache is ever thrown away for a
straggler: an uncle, a reorg or a rollback below an epoch's edge finds the old worker still there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from services.sync_coordinator.core.ethash_epochs import MAX_EPOCH, EthashEpoch, epoch_at

STRAGGLER_BLOCKS: Final = 2048
"""An epoch's worker outlives its last block by so many: as far as a failed sync rolls headers back and more than
an import batch holds; uncles reach only 7. The next epoch's is not started sooner, so that mostly two are held."""

UNUSED_S: Final = 5.0
"""It also outlives its last question by this time: two imports may be at work in epochs far apart."""

AHEAD_S: Final = 30.0
"""The next epoch's worker starts when its first block is due within this time at the pace of the last seconds:
several times what a cache takes while all processors check seals (0.2 to 5 s)."""

AHEAD_BLOCKS: Final = 1024
"""It starts this close to the edge whatever the pace, which is unknown when a sync begins: two import chunks."""

PACE_WINDOW_S: Final = 10.0
"""How far back the pace looks: a few import batches."""

PACE_LEAST_S: Final = 1.0
"""The pace is taken over no less: the questions of one batch come all at once."""

MAX_HELD: Final = 3
"""Workers held while none of them is busy: the present epoch's, a neighbour's, and one of an old branch."""


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker for `epoch`; it builds its cache at once."""

    epoch: EthashEpoch
    is_ahead: bool
    """Whether no seal waits for it yet."""


@dataclass(frozen=True, slots=True)
class EndWorker:
    """End the worker of `epoch`, which has nothing to do."""

    epoch: EthashEpoch


RoutingAction = StartWorker | EndWorker


@dataclass(slots=True)
class _Held:
    used_at: float
    pace: _Pace
    open_questions: int = 0


class SealRouting:
    """Every question goes to the worker of its epoch; callers report when it begins and when it ends."""

    def __init__(self, ecip1099_block: int | None) -> None:
        self._ecip1099_block = ecip1099_block
        self._held: dict[EthashEpoch, _Held] = {}
        """The least recently used first."""
        self._position = 0

    @property
    def held(self) -> list[EthashEpoch]:
        """The epochs that have a worker."""
        return list(self._held)

    def epoch_of(self, number: int) -> EthashEpoch:
        return epoch_at(number, self._ecip1099_block)

    def prepare(self, number: int, now: float) -> list[RoutingAction]:
        """Block `number` will be asked about before long; callers start here."""
        epoch = self.epoch_of(number)
        self._position = number
        actions = self._hold(epoch, now, is_ahead=True)
        self._held[epoch].pace.note(number, now)
        if self._is_next_due(epoch):
            actions += self._hold(self.epoch_of(epoch.blocks.stop), now, is_ahead=True)
        return actions

    def on_question(self, last_number: int, now: float) -> list[RoutingAction]:
        """A question about blocks of one epoch begins, `last_number` the highest of them."""
        epoch = self.epoch_of(last_number)
        self._position = last_number
        actions = self._hold(epoch, now, is_ahead=False)
        self._held[epoch].open_questions += 1
        self._held[epoch].pace.note(last_number, now)
        if self._is_next_due(epoch):
            actions += self._hold(self.epoch_of(epoch.blocks.stop), now, is_ahead=True)
        return [*actions, *self._let_go(now)]

    def on_answer(self, epoch: EthashEpoch, now: float) -> list[RoutingAction]:
        """A question about this epoch ended, in whatever way."""
        self._held[epoch].open_questions -= 1
        return self._let_go(now)

    def _hold(self, epoch: EthashEpoch, now: float, *, is_ahead: bool) -> list[RoutingAction]:
        held = self._held.pop(epoch, None)
        self._held[epoch] = held or _Held(now, _Pace())
        self._held[epoch].used_at = now
        return [StartWorker(epoch, is_ahead)] if held is None else []

    def _is_next_due(self, epoch: EthashEpoch) -> bool:
        if self._position - epoch.blocks.start < STRAGGLER_BLOCKS or epoch.size_epoch >= MAX_EPOCH:
            return False
        blocks_left = epoch.blocks.stop - self._position
        return blocks_left <= max(AHEAD_BLOCKS, self._held[epoch].pace.blocks_per_s * AHEAD_S)

    def _let_go(self, now: float) -> list[RoutingAction]:
        """Ends idle workers of epochs well below the position, then the least recently used above the limit."""
        idle = [epoch for epoch, held in self._held.items() if not held.open_questions]
        past = [epoch for epoch in idle if self._is_past(epoch, now)]
        surplus = max(0, len(self._held) - len(past) - MAX_HELD)
        ended = [*past, *[epoch for epoch in idle if epoch not in past][:surplus]]
        for epoch in ended:
            del self._held[epoch]
        return [EndWorker(epoch) for epoch in ended]

    def _is_past(self, epoch: EthashEpoch, now: float) -> bool:
        blocks_ago = self._position - epoch.blocks.stop
        return blocks_ago >= STRAGGLER_BLOCKS and now - self._held[epoch].used_at >= UNUSED_S


class _Pace:
    """How fast block numbers rise in one epoch, over the last seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, number: int, now: float) -> None:
        while self._marks and now - self._marks[0][0] > PACE_WINDOW_S:
            self._marks.popleft()
        self._marks.append((now, number))

    @property
    def blocks_per_s(self) -> float:
        """A branch from below counts as standing still."""
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return max(0, last - first) / max(end - start, PACE_LEAST_S)
