"""New blocks that were handed in, and how blocks spread, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blocksync.v1 import blocks_pb2

from trisync.node_status import ChainHead


class BlockSource(enum.StrEnum):
    """How a block came to the node."""

    UNKNOWN = "unknown"
    PEER = "peer"
    SUBMITTED = "submitted"
    SYNCED = "synced"


_SOURCES: Final[Mapping[int, BlockSource]] = {
    blocks_pb2.BLOCK_SOURCE_PEER: BlockSource.PEER,
    blocks_pb2.BLOCK_SOURCE_SUBMITTED: BlockSource.SUBMITTED,
    blocks_pb2.BLOCK_SOURCE_SYNCED: BlockSource.SYNCED,
}


@dataclass(frozen=True, slots=True)
class SubmittedBlock:
    """A block that is stored. One that was known before is sent to nobody."""

    block: ChainHead
    is_new: bool
    canonical: bool
    propagated: int
    announced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """One block's way through the node. Times are microseconds since 1970, None for what has not happened.

    The first sight is timed by the gateway's machine, validity and import by the coordinator's, the sending by the
    broadcaster's: where those are several, so are the clocks.
    """

    block_hash: bytes
    number: int
    source: BlockSource
    first_seen_us: int | None
    first_seen_from: bytes
    first_seen_whole: bool
    whole_arrivals: int
    hash_arrivals: int
    duplicates: int
    header_valid_us: int | None
    imported_us: int | None
    propagated_us: int | None
    propagated_to: int
    lacked_by: int
    announced_us: int | None
    announced_to: int
    refused_by: int


@dataclass(frozen=True, slots=True)
class RankedPeer:
    """A peer that was the first with some of the remembered blocks; `client_name` is empty when it is not connected."""

    node_id: bytes
    first: int
    first_whole: int
    last_first_us: int
    connected: bool
    client_name: str


def propagation_from_proto(message: blocks_pb2.Propagation) -> Propagation:
    return Propagation(
        block_hash=message.block_hash,
        number=message.number,
        source=_SOURCES.get(message.source, BlockSource.UNKNOWN),
        first_seen_us=message.first_seen_us or None,
        first_seen_from=message.first_seen_from,
        first_seen_whole=message.first_seen_whole,
        whole_arrivals=message.whole_arrivals,
        hash_arrivals=message.hash_arrivals,
        duplicates=message.duplicates,
        header_valid_us=message.header_valid_us or None,
        imported_us=message.imported_us or None,
        propagated_us=message.propagated_us or None,
        propagated_to=message.propagated_to,
        lacked_by=message.lacked_by,
        announced_us=message.announced_us or None,
        announced_to=message.announced_to,
        refused_by=message.refused_by,
    )


def ranked_peer_from_proto(message: blocks_pb2.RankedPeer) -> RankedPeer:
    return RankedPeer(
        message.node_id,
        message.first,
        message.first_whole,
        message.last_first_us,
        message.connected,
        message.client_name,
    )
