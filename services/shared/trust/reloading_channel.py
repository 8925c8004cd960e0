"""A channel over TLS that takes renewed certificates without being opened anew by its users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from services.shared.trust.tls_files import TlsMaterial, TlsWatch

Options = Sequence[tuple[str, Any]]


def channel_credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(material.ca, material.key, material.chain)


class ReloadingChannel(grpc.aio.Channel):
    """Every new call goes over a connection made with the newest files; calls that run stay where they are.

    gRPC's own client credentials keep the files' first content for ever, so each new content gets a channel
    of its own, and the one before is closed when its last call has ended.
    """

    def __init__(
        self,
        address: str,
        tls: TlsWatch,
        options: Options,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        self._address, self._tls, self._options, self._interceptors = address, tls, options, interceptors
        material = tls.current()
        self._newest = _Generation(material, self._open(material))
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[_Generation] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        for generation in (self._newest, *self._retired):
            await generation.channel.close(grace)
        if self._closing:
            await asyncio.gather(*self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._current().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._current().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._current().channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._calls("unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._calls("unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._calls("stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._calls("stream_stream", args, kwargs)

    def _calls(self, kind: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """What a stub keeps for one method: it looks for the newest channel at every call."""

        def start(*call_args: Any, **call_kwargs: Any) -> Any:
            generation = self._current()
            call = getattr(generation.channel, kind)(*args, **kwargs)(*call_args, **call_kwargs)
            generation.calls += 1
            call.add_done_callback(lambda _: self._on_call_ended(generation))
            return call

        return start

    def _current(self) -> _Generation:
        material = self._tls.current()
        if material is not self._newest.material:
            before, self._newest = self._newest, _Generation(material, self._open(material))
            self._retired.add(before)
            self._close_if_done(before)
        return self._newest

    def _open(self, material: TlsMaterial) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            self._address, channel_credentials(material), options=self._options, interceptors=self._interceptors
        )

    def _on_call_ended(self, generation: _Generation) -> None:
        generation.calls -= 1
        if generation in self._retired:
            self._close_if_done(generation)

    def _close_if_done(self, generation: _Generation) -> None:
        if generation.calls == 0:
            self._retired.discard(generation)
            task = asyncio.get_running_loop().create_task(generation.channel.close(), name="retired-channel")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Generation:
    """A channel that was made with one content of the files, and how many calls it carries."""

    def __init__(self, material: TlsMaterial, channel: grpc.aio.Channel) -> None:
        self.material, self.channel, self.calls = material, channel, 0
