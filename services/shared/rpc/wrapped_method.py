"""What an interceptor does to a method: its behaviour goes into another one, all else stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

Behaviour = Callable[[Any, Any], Any]
"""What answers a call: takes the request, or the requests, and the context."""


def behaviour_of(method: Any) -> Behaviour:
    found: Behaviour = getattr(method, _arity(method.request_streaming, method.response_streaming))
    return found


def with_behaviour(method: Any, behaviour: Behaviour, deserialize: Callable[[bytes], Any] | None) -> Any:
    """A method of the same arity that answers by `behaviour` and reads requests by `deserialize`."""
    make = getattr(grpc, f"{_arity(method.request_streaming, method.response_streaming)}_rpc_method_handler")
    return make(behaviour, deserialize, method.response_serializer)


def as_stream_of_requests(method: Any, behaviour: Behaviour) -> Any:
    """As if all requests were streams, of bytes: such a behaviour is called before anything is read."""
    make = getattr(grpc, f"{_arity(True, method.response_streaming)}_rpc_method_handler")
    return make(behaviour, None, method.response_serializer)


def _arity(request_streaming: bool, response_streaming: bool) -> str:
    """The attribute of gRPC's method that holds its behaviour; only one of the four is set."""
    return f"{'stream' if request_streaming else 'unary'}_{'stream' if response_streaming else 'unary'}"
