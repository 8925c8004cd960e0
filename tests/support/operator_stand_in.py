"""A coordinator that answers every operator call with little, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import rlp
from blocksync.v1 import blocks_pb2, common_pb2, coordinator_pb2, transactions_pb2
from google.protobuf.message import Message

from tests.support.chain_maker import made_chain

CHAIN = made_chain(2)
HEAD = common_pb2.ChainHead(block_hash=CHAIN.head.hash, number=2, total_difficulty=b"\x09")

RECEIPTS_RLP = rlp.encode(
    [
        [b"\x07" * 32, b"\x52\x08", bytes(256), []],
        b"\x02" + rlp.encode([b"\x01", b"\xa4\x10", bytes(256), [[b"a" * 20, [], b""]]]),
        [b"", b"\xf6\x18", bytes(256), []],
    ]
)
"""One of before Byzantium, one of EIP-2718, one that failed."""

STATUS = coordinator_pb2.NodeStatus(network_id=7, phase=coordinator_pb2.SYNC_PHASE_IDLE, full_block_head=HEAD)
STEPS = [
    coordinator_pb2.BlockStep(
        applied=coordinator_pb2.AppliedBlock(head=HEAD, header_rlp=CHAIN.head.header_rlp), cursor="first"
    ),
    coordinator_pb2.BlockStep(
        undone=coordinator_pb2.UndoneBlock(number=2, block_hash=CHAIN.head.hash), cursor="second"
    ),
]
RELAYED = blocks_pb2.Propagation(number=2, block_hash=b"\x01" * 32)
INCLUDED = transactions_pb2.TRANSACTION_FATE_INCLUDED

ANSWERS: dict[str, Message] = {
    "GetStatus": coordinator_pb2.GetStatusResponse(status=STATUS),
    "WatchStatus": coordinator_pb2.WatchStatusResponse(status=STATUS),
    "GetBlock": coordinator_pb2.GetBlockResponse(head=HEAD, header_rlp=CHAIN.head.header_rlp),
    "GetHeader": coordinator_pb2.GetHeaderResponse(head=HEAD, header_rlp=CHAIN.head.header_rlp),
    "GetReceipts": coordinator_pb2.GetReceiptsResponse(head=HEAD, receipts_rlp=RECEIPTS_RLP),
    "GetCanonicalHash": coordinator_pb2.GetCanonicalHashResponse(number=2, block_hash=CHAIN.head.hash),
    "StreamBlocks": coordinator_pb2.StreamBlocksResponse(steps=STEPS),
    "PoolStatus": transactions_pb2.PoolStatusResponse(pools=[transactions_pb2.PoolState(broadcaster="b:1")]),
    "WatchTransaction": transactions_pb2.WatchTransactionResponse(fate=INCLUDED, block_hash=CHAIN.head.hash),
    "WatchPropagations": blocks_pb2.WatchPropagationsResponse(propagation=RELAYED),
    "GetPropagation": blocks_pb2.GetPropagationResponse(propagation=RELAYED),
}
"""What is not here is answered with an empty message."""


class OperatorStandIn(grpc.GenericRpcHandler):
    """Serves on loopback while its `with` block runs; `asked` has `Service.Method` of each call."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.address = address
        self.asked: set[str] = set()
        self.cursors: list[str] = []
        """Where each reader of blocks that had a cursor went on."""
        self._ended = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))

    def __enter__(self) -> OperatorStandIn:
        port = self._server.add_insecure_port(self.address)
        self.address = self.address.replace(":0", f":{port}")
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._server.stop(None).wait()

    def service(self, handler_call_details: Any) -> Any:
        service, method = handler_call_details.method.removeprefix("/blocksync.v1.").split("/")
        self.asked.add(f"{service}.{method}")
        if method in ("WatchStatus", "StreamBlocks", "WatchTransaction", "WatchPropagations"):
            return grpc.unary_stream_rpc_method_handler(self._streaming(method))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: _answer(method))

    def _streaming(self, method: str) -> Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]:
        def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield _answer(method)
            if method == "WatchStatus" or (method == "StreamBlocks" and self._is_followed(request)):
                over = threading.Event()
                context.add_callback(over.set)
                while not over.wait(0.05) and not self._ended.is_set():
                    pass

        return stream

    def _is_followed(self, request_raw: bytes) -> bool:
        request = coordinator_pb2.StreamBlocksRequest.FromString(request_raw)
        self.cursors += [request.cursor] if request.cursor else []
        return request.follow


def _answer(method: str) -> bytes:
    answer = ANSWERS.get(method)
    return b"" if answer is None else answer.SerializeToString()
