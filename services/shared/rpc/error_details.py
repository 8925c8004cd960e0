"""What stands beside a status code: google.rpc details in the trailer of a call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where gRPC clients of every language look for them."""

DOMAIN: Final = "trisync"
"""Reasons are unique within it."""

MOST_VALUE_CHARS: Final = 256
"""Of what a client sent, so much is told back: trailers are small."""


def encode_details(
    status: grpc.StatusCode,
    text: str,
    *,
    reason: str,
    facts: Mapping[str, str],
    field: str = "",
    retry_after_s: float | None = None,
) -> bytes:
    """A google.rpc.Status: ErrorInfo always, BadRequest where a field is named, RetryInfo where waiting helps."""
    metadata = {name: value[:MOST_VALUE_CHARS] for name, value in facts.items() if value}
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text[:MOST_VALUE_CHARS])
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_s is not None:
        whole = math.floor(retry_after_s)
        delay = duration_pb2.Duration(seconds=whole, nanos=int((retry_after_s - whole) * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    code: int = status.value[0]
    encoded: bytes = status_pb2.Status(
        code=code, message=text[:MOST_VALUE_CHARS], details=[_packed(detail) for detail in details]
    ).SerializeToString()
    return encoded


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
