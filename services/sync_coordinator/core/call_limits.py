"""How much of the operator API one client may use, and all clients together. Internal links are not counted here.

Pure: callers pass `now`, ask `admit` before a call and `done` after it.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple


class CallClass(enum.Enum):
    """Kinds of calls that are counted apart, so that many of one do not keep others out; also labels in metrics."""

    READ = "read"
    """Answered from memory or by a read of the store."""
    ORDER = "order"
    """Changes what the node does."""
    SUBMIT = "submit"
    """Hands in a block or a transaction, which is checked at some cost."""
    STREAM = "stream"
    """Stays open."""
    PROBE = "probe"
    """Health, reflection, channelz."""


class Rate(NamedTuple):
    """So many a second for long, and so many at once after a pause."""

    per_second: float
    burst: float


READS_PER_SECOND: Final = 40.0
"""Of one client, and half as much per second for what costs more; a program that wants every block has StreamBlocks."""

SHARE_OF: Final[Mapping[CallClass, float]] = {
    CallClass.READ: 1.0,
    CallClass.ORDER: 0.25,
    CallClass.SUBMIT: 0.5,
    CallClass.STREAM: 0.25,
    CallClass.PROBE: 0.5,
}
"""What a client may do of each class, as a part of its reads."""

BURST_S: Final = 2.0
"""A pause of so long saves up calls that may come at once: a command or a page asks several things together."""

CLIENTS_WORTH: Final = 3.0
"""All clients together may do as much as so many: a call costs half a millisecond of the event loop that syncs.

Those with a name and those with an address only are counted apart, so that strangers do not use up what the others may.
"""

NAMED: Final = "name:"
"""How the clients begin that a certificate names."""

MOST_CALLS_OPEN: Final = 16
"""Of one client: each may hold a request and an answer."""

MOST_CALLS_OPEN_IN_ALL: Final = 64
MOST_STREAMS_OPEN: Final = 32
MOST_STREAMS_OPEN_IN_ALL: Final = 128

MOST_CLIENTS: Final = 1024
"""Remembered. More addresses than that at once are an attack, which the limits over all clients hold."""


class Excess(NamedTuple):
    """Why a call is refused: programs read the reason, people the text."""

    reason: str
    text: str
    value: str
    rule: str
    retry_after_s: float


class TokenBucket:
    """Fills at a rate up to its burst; each call takes one."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate, self._tokens, self._at = rate, rate.burst, now

    def wait_s(self, now: float) -> float:
        """How long until a token is there; 0 is now. A clock that steps back fills nothing."""
        self._tokens = min(self._rate.burst, self._tokens + max(0.0, now - self._at) * self._rate.per_second)
        self._at = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate.per_second

    def take(self) -> None:
        """Caller's duty: `wait_s` was 0 just now."""
        self._tokens -= 1


class _Client:
    """What one client has left, and has open."""

    __slots__ = ("buckets", "calls", "streams")

    def __init__(self) -> None:
        self.buckets: dict[CallClass, TokenBucket] = {}
        self.calls = self.streams = 0


class CallLimits:
    """Judges calls by client and class. A client is a certificate's name or an address, in any form that is equal."""

    def __init__(self, reads_per_second: float = READS_PER_SECOND) -> None:
        """0 is no limit on how often; what is open at once is limited all the same."""
        self._rates = {
            kind: Rate(reads_per_second * share, max(1.0, reads_per_second * share * BURST_S))
            for kind, share in SHARE_OF.items()
        }
        self._limits_rate = reads_per_second > 0
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._together = {True: _Client(), False: _Client()}

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, client: str, kind: CallClass, now: float) -> Excess | None:
        """None admits the call, whose end is told by `done`; else why not. A refusal costs the client nothing."""
        entry = self._clients.get(client)
        if entry is None:
            entry = self._remember(client)
        else:
            self._clients.move_to_end(client)
        everybody = self._together[client.startswith(NAMED)]
        excess = _open_excess(entry, everybody, kind)
        if excess is None and self._limits_rate:
            excess = self._rate_excess(entry, everybody, kind, now)
        if excess is not None:
            return excess
        for one in (entry, everybody):
            if kind is CallClass.STREAM:
                one.streams += 1
            else:
                one.calls += 1
        return None

    def done(self, client: str, kind: CallClass) -> None:
        for one in (self._clients.get(client), self._together[client.startswith(NAMED)]):
            if one is None:
                continue
            if kind is CallClass.STREAM:
                one.streams -= 1
            else:
                one.calls -= 1

    def _rate_excess(self, entry: _Client, everybody: _Client, kind: CallClass, now: float) -> Excess | None:
        rate = self._rates[kind]
        of_all = Rate(rate.per_second * CLIENTS_WORTH, rate.burst * CLIENTS_WORTH)
        own, common = _bucket(entry, kind, rate, now), _bucket(everybody, kind, of_all, now)
        if wait_s := own.wait_s(now):
            return _too_often("CLIENT_CALL_RATE", "this client", kind, rate, wait_s)
        if wait_s := common.wait_s(now):
            return _too_often("TOTAL_CALL_RATE", "all clients together", kind, of_all, wait_s)
        own.take()
        common.take()
        return None

    def _remember(self, client: str) -> _Client:
        if len(self._clients) >= MOST_CLIENTS:
            idle = (name for name, one in self._clients.items() if not one.calls and not one.streams)
            # What is open is bounded far below the size of the table, so one is idle.
            del self._clients[next(idle)]
        entry = self._clients[client] = _Client()
        return entry


def _bucket(entry: _Client, kind: CallClass, rate: Rate, now: float) -> TokenBucket:
    bucket = entry.buckets.get(kind)
    if bucket is None:
        bucket = entry.buckets[kind] = TokenBucket(rate, now)
    return bucket


def _open_excess(entry: _Client, everybody: _Client, kind: CallClass) -> Excess | None:
    if kind is CallClass.STREAM:
        if entry.streams >= MOST_STREAMS_OPEN:
            return _too_many("CLIENT_STREAMS_OPEN", "streams of this client", entry.streams, MOST_STREAMS_OPEN)
        if everybody.streams >= MOST_STREAMS_OPEN_IN_ALL:
            return _too_many("TOTAL_STREAMS_OPEN", "streams", everybody.streams, MOST_STREAMS_OPEN_IN_ALL)
    elif entry.calls >= MOST_CALLS_OPEN:
        return _too_many("CLIENT_CALLS_OPEN", "calls of this client", entry.calls, MOST_CALLS_OPEN)
    elif everybody.calls >= MOST_CALLS_OPEN_IN_ALL:
        return _too_many("TOTAL_CALLS_OPEN", "calls", everybody.calls, MOST_CALLS_OPEN_IN_ALL)
    return None


def _too_many(reason: str, what: str, found: int, most: int) -> Excess:
    text = f"{found} {what} are open, {most} may be; end one, or try again later"
    return Excess(reason, text, str(found), f"at most {most}", 1.0)


def _too_often(reason: str, who: str, kind: CallClass, rate: Rate, wait_s: float) -> Excess:
    limit = f"{rate.per_second:g} {kind.value} calls a second"
    # Rounded up, so that details are few and waiting is enough.
    rounded = (math.floor(wait_s * 100) + 1) / 100
    text = f"{who} may make {limit}; wait as long as the details say, or ask less often"
    return Excess(reason, text, "", limit, rounded)
