"""What can be wrong with a datagram or a node record. Each fault is the sender's, and costs it nothing but the answer:
the source of a datagram can be forged, so nobody is punished for one."""

from __future__ import annotations

import enum


class DropCause(enum.Enum):
    """Why a datagram was not acted upon; the value is its name in metrics."""

    TOO_LONG = "too-long"
    TOO_SHORT = "too-short"
    BAD_HASH = "bad-hash"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_TYPE = "unknown-type"
    MALFORMED = "malformed"
    EXPIRED = "expired"
    UNSOLICITED = "unsolicited"
    UNPROVEN = "unproven"
    NOT_ALLOWED = "not-allowed"
    FROM_SELF = "from-self"
    TOO_MANY = "too-many"


class DatagramFault(Exception):
    """A datagram that breaks the discovery protocol."""

    cause: DropCause


class DatagramTooLong(DatagramFault):
    cause = DropCause.TOO_LONG

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a datagram has {size_bytes} bytes, at most {limit_bytes} are allowed")
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class DatagramTooShort(DatagramFault):
    cause = DropCause.TOO_SHORT

    def __init__(self, size_bytes: int, least_bytes: int) -> None:
        super().__init__(f"a datagram has {size_bytes} bytes, its frame alone needs {least_bytes}")
        self.size_bytes, self.least_bytes = size_bytes, least_bytes


class HashMismatch(DatagramFault):
    """The first 32 bytes are not the Keccak-256 of the rest: damaged, or not of this protocol."""

    cause = DropCause.BAD_HASH

    def __init__(self, claimed: bytes, actual: bytes) -> None:
        super().__init__(f"a datagram says that its hash is {claimed.hex()}, it is {actual.hex()}")
        self.claimed, self.actual = claimed, actual


class SignatureInvalid(DatagramFault):
    cause = DropCause.BAD_SIGNATURE

    def __init__(self, signature: bytes) -> None:
        super().__init__(f"no key has made the signature {signature.hex()}")
        self.signature = signature


class UnknownPacketType(DatagramFault):
    cause = DropCause.UNKNOWN_TYPE

    def __init__(self, number: int) -> None:
        super().__init__(f"packet type {number:#04x} is not one of discovery v4")
        self.number = number


class MalformedPacket(DatagramFault):
    """A packet that does not decode to what its type promises."""

    cause = DropCause.MALFORMED

    def __init__(self, packet: str, problem: str) -> None:
        super().__init__(f"{packet}: {problem}")
        self.packet, self.problem = packet, problem


class PacketExpired(DatagramFault):
    """A packet that says itself that it is too old: replayed, or one of the two clocks is wrong."""

    cause = DropCause.EXPIRED

    def __init__(self, packet: str, expired_s: float) -> None:
        super().__init__(f"{packet}: expired {expired_s:.0f} s ago")
        self.packet, self.expired_s = packet, expired_s


class UnsolicitedReply(DatagramFault):
    """A reply that nobody waits for: not asked for, too late, from another address, or to another question."""

    cause = DropCause.UNSOLICITED

    def __init__(self, packet: str) -> None:
        super().__init__(f"{packet}: nobody waits for it")
        self.packet = packet


class EndpointUnproven(DatagramFault):
    """A question whose answer is longer than itself, from an address that may be forged."""

    cause = DropCause.UNPROVEN

    def __init__(self, packet: str, host: str) -> None:
        super().__init__(f"{packet}: its sender has not proven that it is at {host}")
        self.packet, self.host = packet, host


class HostNotAllowed(DatagramFault):
    cause = DropCause.NOT_ALLOWED

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not an address that we talk to")
        self.host = host


class SentByOurselves(DatagramFault):
    """A datagram with our own signature: somebody sends us back what we said."""

    cause = DropCause.FROM_SELF


class TooManyDatagrams(DatagramFault):
    """More than is looked at, or answered in full."""

    cause = DropCause.TOO_MANY

    def __init__(self, host: str) -> None:
        super().__init__(f"too many datagrams; this one is of {host}")
        self.host = host


class RecordInvalid(DatagramFault):
    """Bytes or text that are not a signed node record (EIP-778)."""

    cause = DropCause.MALFORMED

    def __init__(self, problem: str) -> None:
        super().__init__(f"not a node record: {problem}")
        self.problem = problem
