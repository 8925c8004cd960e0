"""Every method that an outsider may call, and what it may be sent. What is not here is an internal link's."""

from __future__ import annotations

from typing import Final, NamedTuple

from blocksync.v1 import blocks_pb2, coordinator_pb2, transactions_pb2
from google.protobuf.descriptor import MethodDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.sync_coordinator.core.block_submission import MAX_SUBMITTED_BYTES
from services.sync_coordinator.core.call_limits import CallClass

FRAMING_BYTES: Final = 64
"""What protobuf adds to a field of bytes, with room."""

QUESTION_BYTES: Final = 8 * 1024
"""Of all requests that carry no block or transaction: an enode URL or a page token is the longest."""

TRANSACTION_BYTES: Final = 128 * 1024 + FRAMING_BYTES
"""As the broadcaster takes them."""

BLOCK_BYTES: Final = MAX_SUBMITTED_BYTES + FRAMING_BYTES

SERVICES: Final = (
    coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"],
    blocks_pb2.DESCRIPTOR.services_by_name["BlockService"],
    transactions_pb2.DESCRIPTOR.services_by_name["TransactionService"],
)

PROBE_SERVICES: Final = (
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    channelz_pb2.DESCRIPTOR.services_by_name["Channelz"],
)

ORDERS: Final = frozenset({"StartSync", "AddPeer", "RemovePeer", "AddTrustedPeer", "RemoveTrustedPeer"})

SUBMISSIONS: Final = {"SubmitBlock": BLOCK_BYTES, "SubmitTransaction": TRANSACTION_BYTES}


class OperatorMethod(NamedTuple):
    """What the guard has to know of a method before it looks at a call."""

    kind: CallClass
    request_bytes: int
    """The largest request."""
    streams_requests: bool
    streams_responses: bool


UNKNOWN_METHOD: Final = OperatorMethod(CallClass.PROBE, 0, False, False)
"""What no service has: it is answered by a status, and counted."""


def operator_methods() -> dict[str, OperatorMethod]:
    """By `/package.Service/Method`."""
    found = {
        f"/{service.full_name}/{method.name}": _described(method) for service in SERVICES for method in service.methods
    }
    for service in PROBE_SERVICES:
        # Reflection is served under both of its names, which differ in the package only.
        for name in {service.full_name, service.full_name.replace(".v1alpha.", ".v1.")}:
            for method in service.methods:
                kind = CallClass.STREAM if method.server_streaming else CallClass.PROBE
                found[f"/{name}/{method.name}"] = OperatorMethod(
                    kind, QUESTION_BYTES, method.client_streaming, method.server_streaming
                )
    return found


def _described(method: MethodDescriptor) -> OperatorMethod:
    kind = CallClass.STREAM if method.server_streaming else CallClass.READ
    if method.name in ORDERS:
        kind = CallClass.ORDER
    elif method.name in SUBMISSIONS:
        kind = CallClass.SUBMIT
    request_bytes = SUBMISSIONS.get(method.name, QUESTION_BYTES)
    return OperatorMethod(kind, request_bytes, method.client_streaming, method.server_streaming)
