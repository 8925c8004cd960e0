"""Which peers have which transactions, as a gateway tells its broadcaster at the beginning of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from blocksync.v1 import broadcast_pb2

from services.shared.ethwire.types import PeerId, TransactionHash
from services.shared.rpc.convert import peer_id_from_proto, split_hashes
from services.shared.rpc.errors import InvalidRequest


def width_bytes(places: int) -> int:
    """The size of one bit set."""
    return (places + 7) // 8


def known_transactions_to_proto(
    row: Sequence[PeerId | None], known: Sequence[tuple[bytes, int]]
) -> broadcast_pb2.KnownTransactions:
    """`known` are hashes, each with its knowers: bit n is the n-th of the row. Bits beyond the row are left out."""
    width, everyone = width_bytes(len(row)), (1 << len(row)) - 1
    return broadcast_pb2.KnownTransactions(
        node_ids=[peer or b"" for peer in row],
        hashes=b"".join([known_hash for known_hash, _ in known]),
        knowers=b"".join([(knowers & everyone).to_bytes(width, "little") for _, knowers in known]),
    )


def known_transactions_from_proto(
    part: broadcast_pb2.KnownTransactions,
) -> tuple[list[PeerId | None], list[tuple[TransactionHash, int]]]:
    """The way back. Raises InvalidRequest."""
    row = [peer_id_from_proto(node_id) if node_id else None for node_id in part.node_ids]
    hashes, knowers, width = split_hashes(part.hashes), part.knowers, width_bytes(len(row))
    if len(knowers) != len(hashes) * width:
        raise InvalidRequest(
            f"{len(knowers)} bytes say who knows {len(hashes)} transactions, {width} are needed for each"
        )
    bits = [int.from_bytes(knowers[at * width : (at + 1) * width], "little") for at in range(len(hashes))]
    return row, [(TransactionHash(known_hash), own) for known_hash, own in zip(hashes, bits, strict=True)]


def transaction_hashes_from_proto(message: broadcast_pb2.SendTransactions) -> list[TransactionHash]:
    """Those of the transactions sent; none where the broadcaster does not say. Raises InvalidRequest."""
    hashes = [TransactionHash(one) for one in split_hashes(message.hashes)]
    if hashes and len(hashes) != len(message.transactions_rlp):
        raise InvalidRequest(f"{len(hashes)} hashes for {len(message.transactions_rlp)} transactions")
    return hashes
