"""Which peers have which transactions, as a gateway tells its broadcaster at the beginning of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocksync.v1 import broadcast_pb2

from services.shared.ethwire.types import PeerId, TransactionHash
from services.shared.rpc.convert import HASH_BYTES, peer_id_from_proto, split_hashes
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
) -> Iterator[tuple[TransactionHash, list[PeerId]]]:
    """Each hash with the peers that know it. Raises InvalidRequest, before the first."""
    row = [peer_id_from_proto(node_id) if node_id else None for node_id in part.node_ids]
    width, count = width_bytes(len(row)), len(part.hashes) // HASH_BYTES
    if len(part.hashes) % HASH_BYTES or len(part.knowers) != count * width:
        raise InvalidRequest(
            f"{len(part.hashes)} bytes of hashes with {len(part.knowers)} bytes of knowers: "
            f"{HASH_BYTES} and {width} are needed for each transaction"
        )
    return (
        (
            TransactionHash(part.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]),
            _chosen(row, int.from_bytes(part.knowers[index * width : (index + 1) * width], "little")),
        )
        for index in range(count)
    )


def transaction_hashes_from_proto(message: broadcast_pb2.SendTransactions) -> list[TransactionHash]:
    """Those of the transactions sent; none where the broadcaster does not say. Raises InvalidRequest."""
    hashes = [TransactionHash(one) for one in split_hashes(message.hashes)]
    if hashes and len(hashes) != len(message.transactions_rlp):
        raise InvalidRequest(f"{len(hashes)} hashes for {len(message.transactions_rlp)} transactions")
    return hashes


def _chosen(row: Sequence[PeerId | None], knowers: int) -> list[PeerId]:
    bits = f"{knowers:b}"[::-1]
    return [peer for bit, peer in zip(bits, row, strict=False) if bit == "1" and peer is not None]
