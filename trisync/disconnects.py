"""Connections that ended, as the operator API tells them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from blocksync.v1 import common_pb2, coordinator_pb2

_STAGE_PREFIX: Final = "CONNECTION_STAGE_"
_REASON_PREFIX: Final = "DISCONNECT_REASON_"
_OFFENCE_PREFIX: Final = "OFFENCE_"

OFFENCES: Final[Sequence[str]] = tuple(
    name.removeprefix(_OFFENCE_PREFIX).lower() for name, number in common_pb2.Offence.items() if number
)
"""Every cause for which a connection can end or something is counted, by name."""


class Side(enum.StrEnum):
    """Who ended a connection."""

    US = "us"
    THEM = "them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """A connection that is over. `reason` is None where nothing was said."""

    node_id: bytes
    gateway_id: str
    client_name: str
    remote_address: str
    inbound: bool
    static: bool
    trusted: bool
    stage: str
    reason: str | None
    side: Side
    offence: str
    explanation: str
    eth_version: int
    connected_s: float
    ban_s: float
    unix_time_s: float


@dataclass(frozen=True, slots=True)
class DisconnectList:
    """The newest first. `counts` are of all since the coordinator's start, whatever was asked for."""

    disconnects: tuple[Disconnect, ...]
    counts: tuple[tuple[Side, str, int], ...]
    banned: int


def offence_number(name: str) -> common_pb2.Offence.ValueType:
    """Raises ValueError for a name that is not in `OFFENCES`."""
    if name not in OFFENCES:
        raise ValueError(f"{name!r} is not an offence; they are {', '.join(OFFENCES)}")
    return common_pb2.Offence.Value(_OFFENCE_PREFIX + name.upper())


def side_number(side: Side | None) -> coordinator_pb2.DisconnectSide.ValueType:
    match side:
        case None:
            return coordinator_pb2.DISCONNECT_SIDE_UNSPECIFIED
        case Side.US:
            return coordinator_pb2.DISCONNECT_SIDE_US
        case Side.THEM:
            return coordinator_pb2.DISCONNECT_SIDE_THEM


def list_from_proto(answer: coordinator_pb2.ListDisconnectsResponse) -> DisconnectList:
    return DisconnectList(
        tuple(_disconnect_from_proto(entry) for entry in answer.disconnects),
        tuple((_side(by_us=_is_ours(each.side)), _offence_name(each.offence), each.count) for each in answer.counts),
        answer.banned,
    )


def _disconnect_from_proto(entry: coordinator_pb2.DisconnectEntry) -> Disconnect:
    told = entry.disconnect
    return Disconnect(
        node_id=told.node_id,
        gateway_id=entry.gateway_id,
        client_name=told.client_name,
        remote_address=told.remote_address,
        inbound=told.inbound,
        static=told.static,
        trusted=told.trusted,
        stage=_name(common_pb2.ConnectionStage.items(), told.stage, _STAGE_PREFIX),
        reason=_name(common_pb2.DisconnectReason.items(), told.reason, _REASON_PREFIX) if told.reason else None,
        side=_side(by_us=told.by_us),
        offence=_offence_name(told.offence),
        explanation=told.explanation,
        eth_version=told.eth_version,
        connected_s=told.connected_seconds,
        ban_s=told.ban_seconds,
        unix_time_s=told.unix_time_ms / 1000,
    )


def _side(*, by_us: bool) -> Side:
    return Side.US if by_us else Side.THEM


def _is_ours(side: coordinator_pb2.DisconnectSide.ValueType) -> bool:
    return side == coordinator_pb2.DISCONNECT_SIDE_US


def _offence_name(number: int) -> str:
    return _name(common_pb2.Offence.items(), number, _OFFENCE_PREFIX)


def _name(values: Sequence[tuple[str, int]], number: int, prefix: str) -> str:
    """In words; a number that a newer coordinator has more of stays a number."""
    found = next((name for name, value in values if value == number), None)
    return str(number) if found is None else found.removeprefix(prefix).lower()
