"""The composition root of the broadcaster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc
from prometheus_client import CollectorRegistry

from services.broadcaster.config import BroadcasterConfig
from services.broadcaster.core.block_relay import BlockRelay
from services.broadcaster.core.fan_out import FanOut
from services.broadcaster.core.followed_chain import FollowedChain
from services.broadcaster.edges.broadcast_servicer import BroadcastServicer
from services.broadcaster.edges.chain_watch import ChainWatch
from services.broadcaster.edges.gateway_links import GatewayLinks
from services.broadcaster.edges.gateway_servicer import GatewayServicer
from services.broadcaster.metrics import BroadcasterMetrics
from services.shared.rpc.channel import Backoff
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metrics_http import MetricsServer, ProcessMetrics

STOP_GRACE_S: Final = 1.0
"""Time for running calls to end when we stop; the streams are told at once, the calls take milliseconds."""


async def run(config: BroadcasterConfig, *, stop: asyncio.Event, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Run until `stop` is set; `ready` is called once gateways can attach, with the addresses."""
    registry = CollectorRegistry()
    metrics = BroadcasterMetrics(registry)
    metrics.fan_out.state(config.fan_out)
    process_metrics = ProcessMetrics("broadcaster", registry)
    metrics_server = MetricsServer(registry)

    rng = random.Random()
    relay = BlockRelay(FanOut(config.fan_out), rng)
    links = GatewayLinks(relay, metrics, config.gateway_queue_bytes)
    chain_watch = ChainWatch(config.coordinator, FollowedChain(), metrics, Backoff(rng))

    server = _server(links)
    try:
        addresses = [_bound_address(address, server.listen(address)) for address in config.listen]
        metrics_port = await metrics_server.start(config.metrics_host, config.metrics_port)
        await server.start()
        await server.set_serving(True)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(chain_watch.run(), name="chain-watch")
            lag = tasks.create_task(process_metrics.watch_loop_lag(), name="loop-lag")
            ready({"grpc": addresses, "metrics": f"{config.metrics_host}:{metrics_port}"})
            await stop.wait()
            following.cancel()
            lag.cancel()
    finally:
        links.end_all()
        await server.stop(STOP_GRACE_S)
        await metrics_server.stop()


def _server(links: GatewayLinks) -> RpcServer:
    services = broadcast_pb2.DESCRIPTOR.services_by_name
    server = RpcServer()
    server.add(
        broadcast_pb2_grpc.add_BroadcastLinkServiceServicer_to_server,
        GatewayServicer(links),
        services["BroadcastLinkService"],
    )
    server.add(
        broadcast_pb2_grpc.add_BroadcastServiceServicer_to_server,
        BroadcastServicer(links),
        services["BroadcastService"],
    )
    return server


def _bound_address(address: str, port: int) -> str:
    """The address with the port that was bound, for one that asked for any."""
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
