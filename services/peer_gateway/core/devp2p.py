"""The devp2p base protocol: Hello, Disconnect, Ping, Pong and the choice of capabilities.

Spec: devp2p `rlpx.md`, section "p2p" Capability; EIP-8 for what a Hello may carry besides.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.faults import DisconnectReason, MalformedRlp, PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.rlp_slices import (
    encode_string,
    encode_uint,
    item_span,
    join_list,
    list_span,
    split_items,
    split_list,
    string_payload,
    uint_payload,
)

P2P_VERSION: Final = 5
"""What our Hello says: the version that brought snappy."""

SNAPPY_P2P_VERSION: Final = 5
"""From this version on, on both sides, every message after Hello is compressed (EIP-706)."""

MAX_BASE_MESSAGE_BYTES: Final = 2 * 1024
"""A larger base message breaks the protocol (geth `baseProtocolMaxMsgSize`)."""

SUBPROTOCOL_OFFSET: Final = 0x10
"""Codes below belong to the base protocol."""


class BaseCode(enum.IntEnum):
    HELLO = 0x00
    DISCONNECT = 0x01
    PING = 0x02
    PONG = 0x03


EMPTY_LIST: Final = b"\xc0"
"""The content of Ping and Pong."""


class MalformedBaseMessage(PeerFault):
    """A base message that does not decode to what its code promises."""

    offence = Offence.BASE_MESSAGE_UNDECODABLE

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(f"{message}: {problem}")
        self.message, self.problem = message, problem


class Capability(NamedTuple):
    """A sub-protocol and its version, such as eth/63."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class SharedCapability(NamedTuple):
    """A capability both sides speak; its `length` message codes start at `offset`."""

    name: str
    version: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Hello:
    """How a node introduces itself. `node_id` is as sent: the caller compares it with the handshake's."""

    version: int
    client_name: str
    capabilities: tuple[Capability, ...]
    listen_port: int
    node_id: bytes


def encode_hello(hello: Hello) -> bytes:
    capabilities = [
        join_list([encode_string(capability.name.encode()), encode_uint(capability.version)])
        for capability in sorted(hello.capabilities)
    ]
    return join_list(
        [
            encode_uint(hello.version),
            encode_string(hello.client_name.encode()),
            join_list(capabilities),
            encode_uint(hello.listen_port),
            encode_string(hello.node_id),
        ]
    )


def decode_hello(payload: bytes) -> Hello:
    """Read a Hello; further list items and trailing bytes are ignored (EIP-8). Raises MalformedBaseMessage."""
    try:
        items = _hello_items(payload)
        return Hello(
            uint_payload(items[0], max_bytes=8),
            string_payload(items[1]).decode(errors="replace"),
            tuple(_decode_capability(item) for item in split_list(items[2])),
            uint_payload(items[3], max_bytes=8),
            string_payload(items[4]),
        )
    except MalformedRlp as fault:
        raise MalformedBaseMessage("Hello", str(fault)) from fault


def _hello_items(payload: bytes) -> list[bytes]:
    start, end = list_span(payload, 0, len(payload))
    items = split_items(payload, start, end)
    if len(items) < 5:
        raise MalformedRlp(f"{len(items)} fields, 5 are needed")
    return items


def _decode_capability(encoded: bytes) -> Capability:
    items = split_list(encoded, most=2)
    if len(items) != 2:
        raise MalformedRlp("a capability is not a name and a version")
    return Capability(string_payload(items[0]).decode(errors="replace"), uint_payload(items[1], max_bytes=8))


def encode_disconnect(reason: DisconnectReason) -> bytes:
    return join_list([encode_uint(reason)])


def decode_disconnect(payload: bytes) -> int:
    """The reason's number, from the list form or the bare integer; no reason at all counts as requested.

    Raises MalformedBaseMessage; the peer is leaving all the same.
    """
    try:
        if not payload:
            return DisconnectReason.REQUESTED
        start, end, is_list = item_span(payload, 0, len(payload))
        if is_list and start == end:
            return DisconnectReason.REQUESTED
        if is_list:
            _, item_end, _ = item_span(payload, start, end)
            return uint_payload(payload[start:item_end], max_bytes=8)
        return int.from_bytes(payload[start:end])
    except MalformedRlp as fault:
        raise MalformedBaseMessage("Disconnect", str(fault)) from fault


def read_goodbye(payload: bytes) -> tuple[DisconnectReason | None, str]:
    """The reason that a peer gives for leaving, None where it is none that we know, and what to tell of it."""
    try:
        number = decode_disconnect(payload)
    except MalformedBaseMessage as fault:
        return None, f"the peer left: {fault}"
    try:
        reason = DisconnectReason(number)
    except ValueError:
        return None, f"the peer left with the unknown reason {number}"
    return reason, f"the peer left: {reason.words}"


def negotiate(ours: Mapping[Capability, int], theirs: Iterable[Capability]) -> Sequence[SharedCapability]:
    """The highest common version of each name, sorted by name, codes laid out from 0x10 on.

    `ours` maps each capability to the number of message codes it takes.
    """
    highest = {capability.name: capability for capability in sorted(ours.keys() & set(theirs))}
    shared = []
    offset = SUBPROTOCOL_OFFSET
    for name, capability in sorted(highest.items()):
        shared.append(SharedCapability(name, capability.version, offset, ours[capability]))
        offset += ours[capability]
    return shared
