"""How a sync can fail, whose fault that is and what follows."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from services.shared.ethwire.offences import Offence


class SyncFault(enum.Enum):
    """Why a sync ended without success, or why the downloader drops a peer."""

    TIMEOUT = "timeout"
    BAD_PEER = "bad peer"
    STALLING_PEER = "stalling peer"
    EMPTY_HEADER_SET = "empty header set"
    PEERS_UNAVAILABLE = "no peer could serve"
    PROTOCOL_TOO_OLD = "protocol too old"
    INVALID_ANCESTOR = "invalid ancestor"
    INVALID_CHAIN = "invalid chain"
    INVALID_BODY = "body matches no requested header"
    INVALID_RECEIPTS = "receipts match no requested header"
    INVALID_STATE_ENTRY = "state entry that was not asked for"
    UNKNOWN_PEER = "unknown peer"
    MASTER_LEFT = "master peer left"
    REQUEST_LOST = "request to the master peer was lost"
    IMPORT_FAILED = "import failed on our side"
    CANCELLED = "cancelled"

    @property
    def drops_master(self) -> bool:
        """Whether the peer we synced with is dropped for it; the others only mean another try."""
        return self in _DROPS_MASTER

    @property
    def offence(self) -> Offence:
        """What a peer that is dropped for it has done. Caller's duty: a fault that is a peer's."""
        return _OFFENCES[self]


_DROPS_MASTER: Final = frozenset(
    {
        SyncFault.TIMEOUT,
        SyncFault.BAD_PEER,
        SyncFault.STALLING_PEER,
        SyncFault.EMPTY_HEADER_SET,
        SyncFault.PEERS_UNAVAILABLE,
        SyncFault.PROTOCOL_TOO_OLD,
        SyncFault.INVALID_ANCESTOR,
        SyncFault.INVALID_CHAIN,
    }
)


_OFFENCES: Final[Mapping[SyncFault, Offence]] = {
    SyncFault.TIMEOUT: Offence.SYNC_TIMEOUT,
    SyncFault.BAD_PEER: Offence.BAD_HEAD,
    SyncFault.STALLING_PEER: Offence.STALLING,
    SyncFault.EMPTY_HEADER_SET: Offence.EMPTY_HEADER_SET,
    SyncFault.PEERS_UNAVAILABLE: Offence.BODIES_UNAVAILABLE,
    SyncFault.PROTOCOL_TOO_OLD: Offence.PROTOCOL_TOO_OLD,
    SyncFault.INVALID_ANCESTOR: Offence.INVALID_ANCESTOR,
    SyncFault.INVALID_CHAIN: Offence.INVALID_CHAIN,
    SyncFault.INVALID_BODY: Offence.INVALID_BODY,
    SyncFault.INVALID_RECEIPTS: Offence.INVALID_RECEIPTS,
    SyncFault.INVALID_STATE_ENTRY: Offence.INVALID_STATE_ENTRY,
}
"""The others are nobody's fault, or ours."""


class SyncFailed(Exception):
    """Ends the running sync. Raised by the downloader's parts, never seen by its caller."""

    def __init__(self, fault: SyncFault, detail: str) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault, self.detail = fault, detail
