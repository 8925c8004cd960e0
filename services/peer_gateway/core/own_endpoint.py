"""Where we can be reached from outside, as others tell us, and the record that says so (geth `netutil/iptrack.go`)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final, NamedTuple

from coincurve import PrivateKey

from services.peer_gateway.core.addresses import UdpAddress, kind_of, subnet_of
from services.peer_gateway.core.discv4_types import Endpoint
from services.peer_gateway.core.enr import NodeRecord, endpoint_pairs, sign_record

STATEMENT_LIFETIME_S: Final = 300.0
"""How long what somebody said of our address counts."""

STATEMENTS_NEEDED: Final = 10
"""So many speakers must agree before we believe them."""

SPEAKERS_KEPT: Final = 256
"""Speakers remembered; the oldest is forgotten first."""


class Advertised(NamedTuple):
    """What the operator says of where we are reached: nobody else's word changes it (geth `--nat extip:IP`)."""

    host: str | None = None
    port: int | None = None
    """TCP and UDP."""

    def amend(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, as far as nothing better is known of it."""
        return Endpoint(self.host or endpoint.host, self.port or endpoint.udp_port, self.port or endpoint.tcp_port)


NOTHING_ADVERTISED: Final = Advertised()


class OwnEndpoint:
    """Our own endpoint: where we are bound, until a majority of distinct neighbourhoods says otherwise.

    A neighbourhood has one voice, whatever the number of nodes in it. What is advertised is beyond all voices.
    """

    def __init__(
        self, key: PrivateKey, bound: Endpoint, first_seq: int, advertised: Advertised = NOTHING_ADVERTISED
    ) -> None:
        """`first_seq` must be greater than that of any record this key has signed before, such as the unix time
        in milliseconds."""
        self._key, self._advertised = key, advertised
        self._statements: OrderedDict[str, tuple[UdpAddress, float]] = OrderedDict()
        self.endpoint = advertised.amend(bound)
        self.record = self._sign(first_seq)

    def on_statement(self, speaker: str, seen_at: UdpAddress, now: float) -> bool:
        """`speaker` has answered a Ping of ours that came to it from `seen_at`. True when that moves us."""
        if not kind_of(seen_at.host).is_usable or not seen_at.port:
            return False
        voice = speaker if kind_of(speaker).is_lan else subnet_of(speaker)
        self._statements[voice] = (seen_at, now)
        self._statements.move_to_end(voice)
        self._forget(now)
        (address, count), *_ = Counter(seen for seen, _ in self._statements.values()).most_common(1)
        is_majority = count >= STATEMENTS_NEEDED and 2 * count > len(self._statements)
        said = self._advertised.amend(Endpoint(address.host, address.port, self.endpoint.tcp_port))
        if not is_majority or said == self.endpoint:
            return False
        self.endpoint = said
        self.record = self._sign(self.record.seq + 1)
        return True

    def _forget(self, now: float) -> None:
        while self._statements:
            voice, (_, said_at) = next(iter(self._statements.items()))
            if len(self._statements) <= SPEAKERS_KEPT and now - said_at < STATEMENT_LIFETIME_S:
                return
            del self._statements[voice]

    def _sign(self, seq: int) -> NodeRecord:
        known = self.endpoint if kind_of(self.endpoint.host).is_usable else self.endpoint._replace(host="")
        return sign_record(self._key, seq, endpoint_pairs(*known))
