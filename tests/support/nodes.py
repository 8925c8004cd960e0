"""Made-up nodes for discovery tests."""

from __future__ import annotations

import functools
import itertools
from typing import Final

from services.peer_gateway.core.node_table import BUCKET_COUNT, node_hash
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.wire import local_node

FARTHEST: Final = BUCKET_COUNT - 1


def stranger(number: int, host: str | None = None, port: int = 30303) -> Enode:
    """A node of a neighbourhood of its own; its id is no public key, which only the wire minds."""
    return Enode(_id_of(number), host or f"{20 + number // 250}.{number % 250}.0.1", port, port)


def strangers_in_bucket(own_id: PeerId, bucket: int, count: int, first: int = 0) -> list[Enode]:
    """So many strangers that belong into one bucket of `own_id`'s table."""
    fitting = (number for number in itertools.count(first) if bucket_of(own_id, _id_of(number)) == bucket)
    return [stranger(number) for number in itertools.islice(fitting, count)]


def bucket_of(own_id: PeerId, node_id: PeerId) -> int:
    """The bucket's number, by the definition: the nearest distances share the first."""
    return max(0, (node_hash(own_id) ^ node_hash(node_id)).bit_length() - (257 - BUCKET_COUNT))


@functools.cache
def real_id(name: str) -> PeerId:
    """The id of a node that has a key."""
    return local_node(name).node_id


def _id_of(number: int) -> PeerId:
    return PeerId(number.to_bytes(64))
