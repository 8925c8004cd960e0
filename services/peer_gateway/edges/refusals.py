"""Peers that are turned away though they did nothing wrong on this connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from blocksync.v1 import gateway_link_pb2 as wire

from services.shared.ethwire.offences import Offence

_ANSWERS: Final[Mapping[wire.Admission.ValueType, tuple[Offence, str]]] = {
    wire.ADMISSION_TOO_MANY_PEERS: (Offence.TOO_MANY_PEERS, "all places are taken"),
    wire.ADMISSION_ALREADY_CONNECTED: (Offence.ALREADY_CONNECTED, "it is connected already"),
    wire.ADMISSION_SELF: (Offence.CONNECTED_TO_SELF, "it is one of our own gateways"),
    wire.ADMISSION_BANNED: (Offence.BANNED, "it is banned for what it did before"),
}


class Refused(Exception):
    """Our own decision not to go on with a peer."""

    def __init__(self, offence: Offence, why: str) -> None:
        super().__init__(why)
        self.offence = offence


def refused(admission: wire.Admission.ValueType) -> Refused:
    """What a peer is told that the coordinator does not admit."""
    return Refused(*_ANSWERS[admission])
