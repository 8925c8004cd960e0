"""The reason that a failed call carries for programs: the ErrorInfo of google.rpc, domain `trisync`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY: Final = "grpc-status-details-bin"


def reason_of(trailers: Iterable[Any] | None) -> str:
    """The reason in the trailing metadata of a call, such as `UNKNOWN_BLOCK`; empty where there is none."""
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:
                return ""
            for detail in details:
                info = error_details_pb2.ErrorInfo()
                if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                    return str(info.reason)
    return ""
