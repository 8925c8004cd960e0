"""What the doctor can say about a peer: a closed set of verdicts, the steps on the way, and the words for each."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.peer_gateway.core.shown_text import shown
from services.shared.ethwire.disconnect_reason import DisconnectReason

SHOWN_CHARACTERS: Final = 80
"""As much of a text as is repeated that the peer chose."""


class Verdict(enum.StrEnum):
    """How it ended. Everything but WORKS is a failure."""

    WORKS = "works"
    HOST_NOT_RESOLVED = "host-not-resolved"
    CONNECTION_REFUSED = "connection-refused"
    NO_ROUTE = "no-route"
    TCP_TIMEOUT = "tcp-timeout"
    TCP_FAILED = "tcp-failed"
    RLPX_HANGUP = "rlpx-hangup"
    RLPX_SILENT = "rlpx-silent"
    NOT_RLPX = "not-rlpx"
    IDENTITY_MISMATCH = "identity-mismatch"
    NO_HELLO = "no-hello"
    NO_COMMON_ETH = "no-common-eth"
    TOO_MANY_PEERS = "too-many-peers"
    ALREADY_CONNECTED = "already-connected"
    CONNECTED_TO_SELF = "connected-to-self"
    DISCONNECTED = "disconnected"
    HUNG_UP = "hung-up"
    NO_STATUS = "no-status"
    WRONG_NETWORK = "wrong-network"
    OTHER_GENESIS = "other-genesis"
    PROTOCOL_VERSION_MISMATCH = "protocol-version-mismatch"
    BROKE_PROTOCOL = "broke-protocol"
    HEAD_NOT_SERVED = "head-not-served"
    WRONG_DAO_SIDE = "wrong-dao-side"
    INTERRUPTED = "interrupted"


class StepName(enum.StrEnum):
    """What is done, in this order."""

    RESOLVE = "resolve"
    TCP = "tcp"
    RLPX = "rlpx"
    HELLO = "hello"
    CAPABILITIES = "capabilities"
    STATUS = "status"
    PING = "ping"
    HEAD = "head"
    DAO = "dao"


class Outcome(enum.StrEnum):
    OK = "ok"
    NOTE = "note"
    """Not as it should be, but no reason to end."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ended, how, and how long it took."""

    name: StepName
    outcome: Outcome
    seconds: float
    text: str


class Unreachable(enum.Enum):
    """Why there is no TCP connection."""

    NOT_RESOLVED = Verdict.HOST_NOT_RESOLVED
    REFUSED = Verdict.CONNECTION_REFUSED
    NO_ROUTE = Verdict.NO_ROUTE
    TIMED_OUT = Verdict.TCP_TIMEOUT
    OTHER = Verdict.TCP_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was learnt of the peer; None is not known."""

    address: str | None = None
    client_name: str | None = None
    p2p_version: int | None = None
    snappy: bool | None = None
    capabilities: tuple[str, ...] | None = None
    eth_version: int | None = None
    network_id: int | None = None
    genesis_hash: bytes | None = None
    network: str | None = None
    """The built-in network, or networks, that the peer's Status fits."""
    head_hash: bytes | None = None
    total_difficulty: int | None = None
    ping_s: float | None = None
    head_number: int | None = None
    dao_fork_support: bool | None = None
    disconnect_reason: str | None = None
    """What the peer gave for ending the connection."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of a diagnosis."""

    verdict: Verdict
    explanation: str
    steps: tuple[Step, ...]
    facts: Facts


MEANING_OF: Final[Mapping[DisconnectReason, str]] = MappingProxyType(
    {
        DisconnectReason.REQUESTED: "it does not want us and gives no reason; its log or its operator may know",
        DisconnectReason.NETWORK_ERROR: "it met an error of the network; try again",
        DisconnectReason.BREACH_OF_PROTOCOL: "it says that we broke the protocol; its log may say how",
        DisconnectReason.USELESS_PEER: "we are of no use to it: mostly it speaks no version of eth that we do, "
        "or looks for peers that are further than we say we are",
        DisconnectReason.TOO_MANY_PEERS: "all its places are taken; try again later, "
        "or have its operator make us a trusted peer there (`admin.addTrustedPeer` in geth)",
        DisconnectReason.ALREADY_CONNECTED: "it has a connection with this node id already; "
        "another program runs with the same node key, or a connection of before is not over yet",
        DisconnectReason.INCOMPATIBLE_P2P_VERSION: "it does not speak our version of the base protocol",
        DisconnectReason.INVALID_IDENTITY: "it takes our node id for none",
        DisconnectReason.CLIENT_QUITTING: "it is shutting down; try again when it is up",
        DisconnectReason.UNEXPECTED_IDENTITY: "it expected another node id of us",
        DisconnectReason.CONNECTED_TO_SELF: "it takes us for itself or for a sibling: it has our node key; "
        "give another --nodekey",
        DisconnectReason.READ_TIMEOUT: "it waited too long for us; the way to it may be slow",
        DisconnectReason.SUBPROTOCOL_ERROR: "something about eth went wrong on its side: "
        "mostly another network, genesis or fork than ours",
    }
)
"""Each reason in words, with what to do."""

VERDICT_OF: Final[Mapping[DisconnectReason, Verdict]] = MappingProxyType(
    {
        DisconnectReason.TOO_MANY_PEERS: Verdict.TOO_MANY_PEERS,
        DisconnectReason.ALREADY_CONNECTED: Verdict.ALREADY_CONNECTED,
        DisconnectReason.CONNECTED_TO_SELF: Verdict.CONNECTED_TO_SELF,
    }
)
"""Reasons that have a verdict of their own."""

_MANNERS: Final = (
    (b"SSH-", "an SSH server"),
    (b"HTTP/", "an HTTP server"),
    (b"\x15\x03", "a TLS server"),
    (b"220", "a mail or FTP server"),
)


def described_garbage(first_bytes: bytes, size_bytes: int) -> str:
    """What came where an RLPx ack should have."""
    kind = next((name for start, name in _MANNERS if first_bytes.startswith(start)), None)
    quoted = shown(first_bytes.decode("ascii", errors="replace"), SHOWN_CHARACTERS)
    return f"{size_bytes} bytes that begin with {quoted!r}" + (f", as {kind} would" if kind else "")


def reason_in_words(reason: DisconnectReason) -> str:
    return f"“{reason.words}” (0x{reason:02x})"
