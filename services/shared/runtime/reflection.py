"""What tools such as grpcurl ask a server about itself: its contracts, and its connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import grpc.aio
from grpc_channelz.v1 import channelz
from grpc_reflection.v1alpha import reflection, reflection_pb2

CHANNELZ_NAME: Final = "grpc.channelz.v1.Channelz"

REFLECTION_NAMES: Final = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
"""The name that grpcio serves, and the one that tools ask for first: the messages are the same."""


def add_reflection(server: grpc.aio.Server, names: Iterable[str]) -> None:
    """Let clients list and describe the services with these names."""
    servicer = reflection.aio.ReflectionServicer(service_names=[*names, *REFLECTION_NAMES])
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in REFLECTION_NAMES)
    )


def add_channelz(server: grpc.aio.Server) -> None:
    """Let clients read what gRPC counts of this process's channels, servers and sockets."""
    channelz.add_channelz_servicer(server)
