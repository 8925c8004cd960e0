"""Reads the one request of a call late: only when it is known that the caller may make the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

import grpc.aio

from services.shared.rpc.deadlines import LONGEST_CALL_S
from services.shared.rpc.error_interceptor import abort_with
from services.shared.rpc.errors import InvalidRequest, RequestTimedOut
from services.shared.rpc.wrapped_method import Behaviour

REQUEST_PATIENCE_S: Final = 5.0
"""How long an outsider may take to send its request once it has begun the call."""


async def read_request(context: Any, name: str, patience_s: float) -> bytes:
    """The one request of a call whose handler was registered as one of a stream; ends the call if none comes."""
    try:
        async with asyncio.timeout(patience_s):
            request = await context.read()
    except TimeoutError:
        late = RequestTimedOut(f"no request came within {patience_s:g} s of the call's begin")
        await abort_with(context, late, name)
    if request is grpc.aio.EOF:
        await abort_with(context, InvalidRequest("the call ended without a request"), name)
    return cast("bytes", request)


def late_once(behaviour: Behaviour, deserialize: Callable[[bytes], Any], name: str) -> Behaviour:
    """What answers a stream of requests as `behaviour` answers the first one."""

    async def call(_requests: Any, context: Any) -> Any:
        return await behaviour(deserialize(await read_request(context, name, LONGEST_CALL_S)), context)

    return call


def late_stream(behaviour: Behaviour, deserialize: Callable[[bytes], Any], name: str) -> Behaviour:
    """The same, of what answers with a stream."""

    async def generate(_requests: Any, context: Any) -> AsyncIterator[Any]:
        request = deserialize(await read_request(context, name, LONGEST_CALL_S))
        async with aclosing(behaviour(request, context)) as messages:
            async for message in messages:
                yield message

    return generate
