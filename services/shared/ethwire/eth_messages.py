"""The eth codec: one table per protocol version, from message code to how it is read and written.

A further version adds a table, not branches. `decode_message(any bytes)` returns a message or raises
`MalformedMessage` or `UnknownMessageCode`; nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from services.shared.ethwire.faults import MalformedMessage, MalformedRlp, PeerFault
from services.shared.ethwire.limits import (
    MAX_ANNOUNCES_PER_MESSAGE,
    MAX_ETH_MESSAGE_BYTES,
    MAX_HASHES_READ,
    MAX_ITEMS_PER_REPLY,
    MAX_TRANSACTIONS_READ,
)
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    MessageCode,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
    Status,
    Transactions,
)
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.rlp_slices import (
    encode_length,
    encode_string,
    encode_uint,
    hash_payloads,
    item_span,
    join_list,
    list_span,
    split_items,
    split_list,
    string_payload,
    uint_payload,
    whole_list,
)
from services.shared.ethwire.types import Announce, BlockHash


class UnknownMessageCode(PeerFault):
    """A message code that the negotiated version does not have."""

    offence = Offence.ETH_CODE_UNKNOWN

    def __init__(self, version: int, code: int) -> None:
        super().__init__(f"eth/{version} has no message with code 0x{code:02x}")
        self.version, self.code = version, code


class MessageTooLarge(PeerFault):
    """An eth message over the limit, counted after decompression."""

    offence = Offence.ETH_MESSAGE_OVERSIZED

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"an eth message of {size_bytes} bytes is over the limit of {MAX_ETH_MESSAGE_BYTES}")
        self.size_bytes = size_bytes


class MessageCodec(NamedTuple):
    """How one message is read and written."""

    name: str
    kind: type[Any]
    decode: Callable[[bytes], EthMessage]
    encode: Callable[[Any], bytes]


class EthVersion(NamedTuple):
    """One version of the sub-protocol. `length` is the number of codes it reserves."""

    version: int
    length: int
    codecs: Mapping[int, MessageCodec]


def decode_message(version: int, code: int, payload: bytes) -> EthMessage:
    """Read the message with `code` (relative to the capability) of eth/`version`."""
    codec = ETH_VERSIONS[version].codecs.get(code)
    if codec is None:
        raise UnknownMessageCode(version, code)
    if len(payload) > MAX_ETH_MESSAGE_BYTES:
        raise MessageTooLarge(len(payload))
    try:
        return codec.decode(payload)
    except MalformedRlp as fault:
        raise MalformedMessage(codec.name, str(fault)) from fault


def encode_message(version: int, message: EthMessage) -> tuple[int, bytes]:
    """The code and payload of `message` in eth/`version`.

    Raises ValueError when that version has no such message: the caller must not send it.
    """
    for code, codec in ETH_VERSIONS[version].codecs.items():
        if isinstance(message, codec.kind):
            return code, codec.encode(message)
    raise ValueError(f"eth/{version} has no {type(message).__name__} message")


def _decode_status(payload: bytes) -> Status:
    items = split_list(payload, most=5)
    if len(items) != 5:
        raise MalformedRlp(f"{len(items)} fields, 5 are needed")
    return Status(
        uint_payload(items[0], max_bytes=4),
        uint_payload(items[1], max_bytes=8),
        uint_payload(items[2]),
        BlockHash(_hash(items[3])),
        BlockHash(_hash(items[4])),
    )


def _encode_status(status: Status) -> bytes:
    return join_list([encode_uint(value) for value in status[:3]] + [encode_string(value) for value in status[3:]])


def _decode_new_block_hashes(payload: bytes) -> NewBlockHashes:
    announces = []
    for entry in split_list(payload, most=MAX_ANNOUNCES_PER_MESSAGE):
        items = split_list(entry, most=2)
        if len(items) != 2:
            raise MalformedRlp("an announce is not a hash and a number")
        announces.append(Announce(BlockHash(_hash(items[0])), uint_payload(items[1], max_bytes=8)))
    return NewBlockHashes(announces)


def _encode_new_block_hashes(message: NewBlockHashes) -> bytes:
    return join_list(
        [join_list([encode_string(entry.block_hash), encode_uint(entry.number)]) for entry in message.announces]
    )


def _decode_transactions(payload: bytes) -> Transactions:
    offset, end = whole_list(payload)
    transactions: list[bytes] = []
    while offset < end and len(transactions) < MAX_TRANSACTIONS_READ:
        # The usual ones, lists of 56 to 255 bytes, are read in place: half the time of a full message.
        item_end = offset + 2 + payload[offset + 1] if payload[offset] == 0xF8 and offset + 1 < end else 0
        if not 58 + offset <= item_end <= end:
            start, item_end, _ = item_span(payload, offset, end)
            if start in (offset, item_end):
                raise MalformedRlp("a transaction is nil")
        transactions.append(payload[offset:item_end])
        offset = item_end
    return Transactions(transactions)


def _decode_get_block_headers(payload: bytes) -> GetBlockHeaders:
    items = split_list(payload, most=4)
    if len(items) != 4:
        raise MalformedRlp(f"{len(items)} fields, 4 are needed")
    by_hash = items[0][0] == 0xA0
    origin = BlockHash(_hash(items[0])) if by_hash else uint_payload(items[0], max_bytes=8)
    reverse = uint_payload(items[3], max_bytes=1)
    if reverse > 1:
        raise MalformedRlp(f"the reverse flag is {reverse}, 0 and 1 are allowed")
    return GetBlockHeaders(
        origin, uint_payload(items[1], max_bytes=8), uint_payload(items[2], max_bytes=8), reverse == 1
    )


def _encode_get_block_headers(message: GetBlockHeaders) -> bytes:
    origin = message.origin
    return join_list(
        [
            encode_uint(origin) if isinstance(origin, int) else encode_string(origin),
            encode_uint(message.amount),
            encode_uint(message.skip),
            encode_uint(int(message.reverse)),
        ]
    )


def _decode_block_bodies(payload: bytes) -> BlockBodies:
    bodies = _lists(payload)
    for body in bodies:
        start, end = list_span(body, 0, len(body))
        _, transactions_end = list_span(body, start, end)
        _, uncles_end = list_span(body, transactions_end, end)
        if uncles_end != end:
            raise MalformedRlp("a body has more than transactions and uncles")
    return BlockBodies(bodies)


def _decode_new_block(payload: bytes) -> NewBlock:
    start, end = whole_list(payload)
    block_start, block_end = list_span(payload, start, end)
    header_start = block_start
    _, header_end = list_span(payload, header_start, block_end)
    _, transactions_end = list_span(payload, header_end, block_end)
    _, uncles_end = list_span(payload, transactions_end, block_end)
    if uncles_end != block_end:
        raise MalformedRlp("a block has more than header, transactions and uncles")
    body = payload[header_end:block_end]
    return NewBlock(
        payload[header_start:header_end],
        encode_length(len(body), 0xC0) + body,
        uint_payload(payload[block_end:end]),
    )


def _encode_new_block(message: NewBlock) -> bytes:
    body_start, _ = whole_list(message.body_rlp)
    block = message.header_rlp + message.body_rlp[body_start:]
    return join_list([encode_length(len(block), 0xC0) + block, encode_uint(message.total_difficulty)])


def _decode_node_data(payload: bytes) -> NodeData:
    return NodeData([string_payload(item) for item in split_list(payload, most=MAX_ITEMS_PER_REPLY)])


def _encode_node_data(message: NodeData) -> bytes:
    return join_list([encode_string(value) for value in message.values])


def _hash(item: bytes) -> bytes:
    if len(item) != 33 or item[0] != 0xA0:
        raise MalformedRlp("a hash is not 32 bytes long")
    return item[1:]


def _lists(payload: bytes) -> list[bytes]:
    """The items of `payload`, each of which must be a list."""
    start, end = whole_list(payload)
    items = split_items(payload, start, end, most=MAX_ITEMS_PER_REPLY)
    for item in items:
        if item[0] < 0xC0:
            raise MalformedRlp("a string stands where a list belongs")
    return items


def _hash_list_codec(name: str, kind: type[Any]) -> MessageCodec:
    """The codec of the three requests whose content is a list of hashes."""

    def decode(payload: bytes) -> EthMessage:
        start, end = whole_list(payload)
        return cast(EthMessage, kind(hash_payloads(payload, start, end, most=MAX_HASHES_READ)))

    def encode(message: Any) -> bytes:
        payload = b"".join(b"\xa0" + value for value in message.hashes)
        return encode_length(len(payload), 0xC0) + payload

    return MessageCodec(name, kind, decode, encode)


def _join_only_field(message: Any) -> bytes:
    """Writes a message whose one field is a list of encoded items."""
    return join_list(message[0])


_ETH_62_CODECS: Final[Mapping[int, MessageCodec]] = {
    MessageCode.STATUS: MessageCodec("Status", Status, _decode_status, _encode_status),
    MessageCode.NEW_BLOCK_HASHES: MessageCodec(
        "NewBlockHashes", NewBlockHashes, _decode_new_block_hashes, _encode_new_block_hashes
    ),
    MessageCode.TRANSACTIONS: MessageCodec("Transactions", Transactions, _decode_transactions, _join_only_field),
    MessageCode.GET_BLOCK_HEADERS: MessageCodec(
        "GetBlockHeaders", GetBlockHeaders, _decode_get_block_headers, _encode_get_block_headers
    ),
    MessageCode.BLOCK_HEADERS: MessageCodec(
        "BlockHeaders", BlockHeaders, lambda payload: BlockHeaders(_lists(payload)), _join_only_field
    ),
    MessageCode.GET_BLOCK_BODIES: _hash_list_codec("GetBlockBodies", GetBlockBodies),
    MessageCode.BLOCK_BODIES: MessageCodec("BlockBodies", BlockBodies, _decode_block_bodies, _join_only_field),
    MessageCode.NEW_BLOCK: MessageCodec("NewBlock", NewBlock, _decode_new_block, _encode_new_block),
}

_ETH_63_CODECS: Final[Mapping[int, MessageCodec]] = {
    **_ETH_62_CODECS,
    MessageCode.GET_NODE_DATA: _hash_list_codec("GetNodeData", GetNodeData),
    MessageCode.NODE_DATA: MessageCodec("NodeData", NodeData, _decode_node_data, _encode_node_data),
    MessageCode.GET_RECEIPTS: _hash_list_codec("GetReceipts", GetReceipts),
    MessageCode.RECEIPTS: MessageCodec(
        "Receipts", Receipts, lambda payload: Receipts(_lists(payload)), _join_only_field
    ),
}

ETH_VERSIONS: Final[Mapping[int, EthVersion]] = {
    62: EthVersion(62, 8, _ETH_62_CODECS),
    63: EthVersion(63, 17, _ETH_63_CODECS),
}
"""Every version of the sub-protocol that is spoken, by its number."""
