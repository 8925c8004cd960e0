"""Lets a call through to its servicer when its caller's role allows it, and writes the audit log."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, cast

import grpc
import grpc.aio

from services.shared.rpc.error_interceptor import abort_with
from services.shared.rpc.errors import NotIdentified, NotPermitted, RpcError
from services.shared.rpc.late_requests import late_once, late_stream
from services.shared.rpc.wrapped_method import Behaviour, as_stream_of_requests, behaviour_of, with_behaviour
from services.shared.runtime.audit import AUDITED, RefusalLines, answer_text, audit_log
from services.shared.runtime.callers import Caller, CallerCheck, shown
from services.shared.trust.roles import ACCESS, ADMINS


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Those behind it see only calls that are allowed.

    What is for services only is judged before the request is read, so that a stranger's takes no memory. An
    interceptor before this one that reads what people send asks `identify` first. `on_refused` hears of each call
    that is refused, by its path.
    """

    def __init__(self, check: CallerCheck, on_refused: Callable[[str, Any], None] | None = None) -> None:
        self._check, self._on_refused = check, on_refused
        self._log = audit_log()
        # Strangers have lines of their own, so that their noise hides nobody's who is known.
        self._lines_of_strangers, self._lines_of_known = RefusalLines(), RefusalLines()

    async def identify(self, path: str, context: Any) -> None:
        """Ends the call of `/package.Service/Method` if nobody knows who makes it."""
        name = path.removeprefix("/")
        try:
            self._caller(name, context)
        except NotIdentified as refusal:
            await self._refuse(name, None, refusal, context)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = cast("Any", await continuation(handler_call_details))
        if method is None:
            return None
        name = handler_call_details.method.removeprefix("/")
        wrap = self._answering_stream if method.response_streaming else self._answering_once
        behaviour, deserialize = behaviour_of(method), method.request_deserializer
        if not method.request_streaming and ACCESS.get(name, ADMINS).is_for_services:
            late = late_stream if method.response_streaming else late_once
            late_behaviour = wrap(name, late(behaviour, deserialize, name))
            return as_stream_of_requests(method, late_behaviour)
        return with_behaviour(method, wrap(name, behaviour), deserialize)

    def _answering_once(self, name: str, behaviour: Behaviour) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:
            try:
                caller = self._permitted(name, context)
            except RpcError as refusal:
                await self._refuse(name, request, refusal, context)
            if name not in AUDITED:
                return await behaviour(request, context)
            return await self._audited(name, caller, behaviour, request, context)

        return call

    def _answering_stream(self, name: str, behaviour: Behaviour) -> Behaviour:
        async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                self._permitted(name, context)
            except RpcError as refusal:
                await self._refuse(name, None, refusal, context)
            answer = behaviour(request, context)
            if inspect.isawaitable(answer):
                # A servicer that writes to the context itself yields nothing.
                await answer
                return
            async with contextlib.aclosing(answer) as messages:
                async for message in messages:
                    yield message

        return generate

    def _permitted(self, name: str, context: Any) -> Caller:
        """Raises NotIdentified or NotPermitted."""
        access, caller = ACCESS.get(name, ADMINS), self._caller(name, context)
        if not caller.may(access):
            method = name.removeprefix("blocksync.v1.")
            raise NotPermitted(f"{method} needs {access.needed}, and {caller.name!r} has the role {caller.role}")
        return caller

    def _caller(self, name: str, context: Any) -> Caller:
        """Raises NotIdentified."""
        access = ACCESS.get(name, ADMINS)
        if access.everyone:
            return Caller("anyone", (), _peer(context))
        try:
            return self._check.caller(context)
        except NotIdentified as problem:
            method = name.removeprefix("blocksync.v1.")
            raise NotIdentified(f"{method} needs {access.needed}: {problem}") from problem

    async def _refuse(self, name: str, request: Any, refusal: RpcError, context: Any) -> NoReturn:
        self._tell(name, request, refusal, context)
        if self._on_refused is not None:
            self._on_refused(f"/{name}", context)
        await abort_with(context, refusal, name)

    def _tell(self, name: str, request: Any, refusal: RpcError, context: Any) -> None:
        lines = self._lines_of_strangers if isinstance(refusal, NotIdentified) else self._lines_of_known
        skipped = lines.take()
        if skipped is not None:
            what = {"call": name}
            if name in AUDITED:
                # Of one that was refused before it was read, nothing is known but the method.
                what = {"change": _method(name)} if request is None else _what(name, request)
            more = {"lines_left_out": skipped} if skipped else {}
            self._log.warning("call refused", **what, **more, peer=_peer(context), why=str(refusal))

    async def _audited(self, name: str, caller: Caller, behaviour: Behaviour, request: Any, context: Any) -> Any:
        line = {**_what(name, request), "who": caller.name, "role": caller.role, "peer": caller.peer}
        try:
            answer = await behaviour(request, context)
        except BaseException:
            code = context.code()
            outcome = code.name.lower() if isinstance(code, grpc.StatusCode) else "not done"
            self._log.info("change failed", **line, outcome=outcome, why=shown(str(context.details() or "")))
            raise
        self._log.info("change made", **line, outcome=answer_text(answer))
        return answer


def _what(name: str, request: Any) -> dict[str, str]:
    return {"change": _method(name), "what": AUDITED[name](request)}


def _method(name: str) -> str:
    return name.rpartition("/")[2]


def _peer(context: Any) -> str:
    return shown(str(context.peer()))
