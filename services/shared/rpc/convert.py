"""Between contract messages and our types. A message that breaks its contract raises InvalidRequest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blocksync.v1 import common_pb2

from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, BlockHash, PeerId
from services.shared.rpc.errors import InvalidRequest

HASH_BYTES: Final = 32
NODE_ID_BYTES: Final = 64


def headers_query_to_proto(query: GetBlockHeaders) -> common_pb2.HeadersQuery:
    message = common_pb2.HeadersQuery(amount=query.amount, skip=query.skip, reverse=query.reverse)
    if isinstance(query.origin, int):
        message.number = query.origin
    else:
        message.block_hash = query.origin
    return message


def headers_query_from_proto(message: common_pb2.HeadersQuery) -> GetBlockHeaders:
    origin: BlockHash | int
    match message.WhichOneof("origin"):
        case "number":
            origin = message.number
        case "block_hash":
            origin = block_hash_from_proto(message.block_hash)
        case _:
            raise InvalidRequest("a headers query names neither a number nor a hash")
    return GetBlockHeaders(origin, message.amount, message.skip, message.reverse)


def block_hash_from_proto(value: bytes) -> BlockHash:
    if len(value) != HASH_BYTES:
        raise InvalidRequest(
            f"a hash has {HASH_BYTES} bytes, not {len(value)}", value=f"{len(value)} bytes", rule=f"{HASH_BYTES} bytes"
        )
    return BlockHash(value)


def peer_id_from_proto(value: bytes) -> PeerId:
    if len(value) != NODE_ID_BYTES:
        raise InvalidRequest(
            f"a node id has {NODE_ID_BYTES} bytes, not {len(value)}",
            field="node_id",
            value=f"{len(value)} bytes",
            rule=f"{NODE_ID_BYTES} bytes",
        )
    return PeerId(value)


def split_hashes(joined: bytes) -> list[BlockHash]:
    """Hashes that stand one after the other; `b"".join` is the way back."""
    if len(joined) % HASH_BYTES:
        raise InvalidRequest(f"{len(joined)} bytes are not a whole number of hashes")
    return [BlockHash(joined[start : start + HASH_BYTES]) for start in range(0, len(joined), HASH_BYTES)]


def big_to_bytes(value: int) -> bytes:
    """Big-endian without leading zeros; empty is zero."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def big_from_bytes(value: bytes) -> int:
    return int.from_bytes(value, "big")


def announces_to_proto(announces: Iterable[Announce]) -> list[common_pb2.Announce]:
    return [common_pb2.Announce(block_hash=item.block_hash, number=item.number) for item in announces]


def announces_from_proto(messages: Iterable[common_pb2.Announce]) -> list[Announce]:
    return [Announce(block_hash_from_proto(item.block_hash), item.number) for item in messages]


def reason_to_proto(reason: DisconnectReason) -> common_pb2.DisconnectReason.ValueType:
    """Contract numbers are devp2p's plus one, because zero must mean that nothing was said."""
    return common_pb2.DisconnectReason.ValueType(reason + 1)


def reason_from_proto(value: int) -> DisconnectReason:
    try:
        return DisconnectReason(value - 1)
    except ValueError:
        raise InvalidRequest(f"{value} is not a disconnect reason") from None


def offence_to_proto(offence: Offence) -> common_pb2.Offence.ValueType:
    """The contract has the same numbers."""
    return common_pb2.Offence.ValueType(offence)


def offence_from_proto(value: int) -> Offence:
    try:
        return Offence(value)
    except ValueError:
        raise InvalidRequest(f"{value} is not an offence", field="offence", value=str(value)) from None
