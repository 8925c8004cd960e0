"""A slicing RLP reader: finds items in a buffer without building objects for them.

Canonical form is enforced everywhere (Yellow Paper, appendix B): shortest length, no single byte
below 0x80 in a string wrapper, no trailing bytes. The `rlp` package is the oracle in the tests; it is
not used on hot paths because it costs 4 times as much on headers and 26 times on bodies.
"""

from __future__ import annotations

from services.shared.ethwire.faults import MalformedRlp


def item_span(buffer: bytes, offset: int, limit: int) -> tuple[int, int, bool]:
    """Locate the item at `offset`: (start of its payload, end of the item, whether it is a list).

    Raises MalformedRlp when the item is not canonical or ends after `limit`.
    """
    if offset >= limit:
        raise MalformedRlp(f"an item is missing at byte {offset}")
    prefix = buffer[offset]
    if prefix < 0x80:
        return offset, offset + 1, False
    if prefix < 0xB8:
        start = offset + 1
        end = start + prefix - 0x80
        if end > limit:
            raise MalformedRlp(f"a string at byte {offset} ends {end - limit} bytes after its container")
        if prefix == 0x81 and buffer[start] < 0x80:
            raise MalformedRlp(f"the byte at {start} is wrapped in a string without need")
        return start, end, False
    if 0xC0 <= prefix < 0xF8:
        start = offset + 1
        end = start + prefix - 0xC0
        if end > limit:
            raise MalformedRlp(f"a list at byte {offset} ends {end - limit} bytes after its container")
        return start, end, True
    is_list = prefix >= 0xF8
    length_size = prefix - (0xF7 if is_list else 0xB7)
    start = offset + 1 + length_size
    if start > limit:
        raise MalformedRlp(f"the length at byte {offset} is cut off")
    length = int.from_bytes(buffer[offset + 1 : start])
    if length < 56 or buffer[offset + 1] == 0:
        raise MalformedRlp(f"the length at byte {offset} is not in its shortest form")
    end = start + length
    if end > limit:
        raise MalformedRlp(f"an item at byte {offset} ends {end - limit} bytes after its container")
    return start, end, is_list


def list_span(buffer: bytes, offset: int, limit: int) -> tuple[int, int]:
    """Like `item_span`, for an item that must be a list."""
    start, end, is_list = item_span(buffer, offset, limit)
    if not is_list:
        raise MalformedRlp(f"a list is expected at byte {offset}, a string is there")
    return start, end


def whole_list(buffer: bytes) -> tuple[int, int]:
    """The payload span of the one list that fills `buffer`."""
    start, end = list_span(buffer, 0, len(buffer))
    if end != len(buffer):
        raise MalformedRlp(f"{len(buffer) - end} bytes follow the list")
    return start, end


def split_items(buffer: bytes, start: int, end: int, *, most: int | None = None) -> list[bytes]:
    """The encoded items between `start` and `end`, each with its prefix. Raises MalformedRlp over `most`."""
    items: list[bytes] = []
    offset = start
    while offset < end:
        _, item_end, _ = item_span(buffer, offset, end)
        items.append(buffer[offset:item_end])
        offset = item_end
        if most is not None and len(items) > most:
            raise MalformedRlp(f"more than {most} items in one list")
    return items


def split_list(buffer: bytes, *, most: int | None = None) -> list[bytes]:
    """The encoded items of the one list that fills `buffer`."""
    start, end = whole_list(buffer)
    return split_items(buffer, start, end, most=most)


def string_payload(item: bytes) -> bytes:
    """The content of the one string that fills `item`."""
    start, end, is_list = item_span(item, 0, len(item))
    if is_list:
        raise MalformedRlp("a string is expected, a list is there")
    if end != len(item):
        raise MalformedRlp(f"{len(item) - end} bytes follow the string")
    return item[start:end]


def uint_payload(item: bytes, *, max_bytes: int = 32) -> int:
    """The unsigned integer that fills `item`: no leading zeros, at most `max_bytes` wide."""
    payload = string_payload(item)
    if payload[:1] == b"\0":
        raise MalformedRlp("an integer has leading zeros")
    if len(payload) > max_bytes:
        raise MalformedRlp(f"an integer has {len(payload)} bytes, at most {max_bytes} are allowed")
    return int.from_bytes(payload)


def hash_payloads(buffer: bytes, start: int, end: int, *, most: int) -> list[bytes]:
    """The 32-byte strings between `start` and `end`; what follows the first `most` is not looked at."""
    if (end - start) % 33:
        raise MalformedRlp("a list of hashes has an item that is not 32 bytes long")
    hashes = []
    for offset in range(start, min(end, start + 33 * most), 33):
        if buffer[offset] != 0xA0:
            raise MalformedRlp(f"a hash is expected at byte {offset}")
        hashes.append(buffer[offset + 1 : offset + 33])
    return hashes


def encode_length(length: int, base: int) -> bytes:
    """The prefix of a string (`base` 0x80) or list (`base` 0xC0) of `length` payload bytes."""
    if length < 56:
        return bytes((base + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((base + 55 + len(size),)) + size


def encode_string(payload: bytes) -> bytes:
    if len(payload) == 1 and payload[0] < 0x80:
        return payload
    return encode_length(len(payload), 0x80) + payload


def encode_uint(value: int) -> bytes:
    return encode_string(value.to_bytes((value.bit_length() + 7) // 8))


def join_list(items: list[bytes]) -> bytes:
    """The list whose encoded items are given."""
    payload = b"".join(items)
    return encode_length(len(payload), 0xC0) + payload
