"""The composition root of the gateway."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

import grpc.aio
from blocksync.v1 import broadcast_pb2, gateway_link_pb2
from prometheus_client import CollectorRegistry

from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.dial_plan import DIALS_AT_ONCE, DialLimits
from services.peer_gateway.core.dial_schedule import DialSchedule
from services.peer_gateway.core.discovery import DiscoverySettings
from services.peer_gateway.edges.block_traces import BlockTraces
from services.peer_gateway.edges.broadcaster_link import BroadcasterChannels, BroadcasterLink
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.client_name import client_name
from services.peer_gateway.edges.commands import BroadcasterOrders, CoordinatorOrders
from services.peer_gateway.edges.connections import Connections
from services.peer_gateway.edges.coordinator_link import BulkLimits, CoordinatorLink
from services.peer_gateway.edges.dialler import Dialler
from services.peer_gateway.edges.digests import Digests
from services.peer_gateway.edges.former_peer_table import open_former_peers
from services.peer_gateway.edges.known_transactions import KnownTransactions
from services.peer_gateway.edges.link import LinkKeeper
from services.peer_gateway.edges.listener import BoundPorts, bind, listen, reachable_host
from services.peer_gateway.edges.node_finder import NodeFinder
from services.peer_gateway.edges.node_key import load_node_key
from services.peer_gateway.edges.own_directory import own_directory
from services.peer_gateway.edges.parts import Parts, Standing
from services.peer_gateway.edges.peer_memory import PeerMemory
from services.peer_gateway.edges.roster import Roster
from services.peer_gateway.edges.tcp import share_loop
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.chainspec.rendezvous import ranking
from services.shared.rpc.channel import Backoff, open_channel
from services.shared.runtime.access import AccessInterceptor
from services.shared.runtime.callers import CallerCheck
from services.shared.runtime.credentials import open_tls
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metrics_http import MetricsServer
from services.shared.runtime.rpc_metrics import RpcMetricsInterceptor
from services.shared.runtime.tracing import Tracer, open_tracer

STOP_GRACE_S: Final = 0.5
"""Time for running health checks to end when we stop."""

MOST_BACKOFF_S: Final = 2.0
"""Longest pause between two attempts to reach a service: a restart of it should cost little more than itself."""


async def run(config: GatewayConfig, *, stop: asyncio.Event, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Run until `stop` is set; `ready` is called once peers can connect, with the enode URL and the addresses."""
    with own_directory(config) as own_config:
        await _run(own_config, stop, ready)


async def _run(config: GatewayConfig, stop: asyncio.Event, ready: Callable[[Mapping[str, object]], None]) -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics_server, tls = MetricsServer(registry), open_tls(config)
    interceptors = [RpcMetricsInterceptor(metrics.rpc), AccessInterceptor(CallerCheck())]
    server = RpcServer(interceptors, config, tls=tls)
    key = load_node_key(config.nodekey, config.datadir)
    ports = bind(config.host, config.port, with_udp=not config.nodiscover)
    bound_port = ports.tcp.getsockname()[1]
    local = LocalNode(key=key, client_name=client_name(), listen_port=config.advertised_port or bound_port)
    tracer = open_tracer("peer_gateway", config, metrics.traces, _gateway_id(config, local))
    with closing(ports):
        try:
            metrics_port = await metrics_server.start(config.metrics_host, config.metrics_port)
            addresses = {
                "grpc": server.listen(config.listen),
                "metrics": f"{config.metrics_host}:{metrics_port}",
                "peers": f"{config.host}:{bound_port}",
            }
            await server.start()
            async with (
                open_channel(config.coordinator, tls) as to_coordinator,
                BroadcasterChannels(ranking(local.node_id, config.broadcaster), tls) as to_broadcasters,
                asyncio.TaskGroup() as tasks,
            ):
                lag = tasks.create_task(metrics.process.watch_loop_lag(), name="loop-lag")
                gateway = Gateway(config, local, (metrics, tracer), (to_coordinator, to_broadcasters), tasks)
                await gateway.run(ports, server, stop, lambda facts: ready({**facts, **addresses}))
                lag.cancel()
        finally:
            await server.stop(STOP_GRACE_S)
            await metrics_server.stop()
            await tracer.close()


class Gateway:
    """The parts of one gateway, put together."""

    def __init__(
        self,
        config: GatewayConfig,
        local: LocalNode,
        watched_by: tuple[GatewayMetrics, Tracer],
        channels: tuple[grpc.aio.Channel, BroadcasterChannels],
        tasks: asyncio.TaskGroup,
    ) -> None:
        rng = random.Random()
        metrics, tracer = watched_by
        to_coordinator, to_broadcasters = channels
        self._tasks = tasks
        self._gateway_id = _gateway_id(config, local)
        self._local = local
        bulk_limits = BulkLimits(config.bulk_queue_bytes, config.bulk_patience)
        keeper = self._keeper("coordinator", rng, metrics)
        coordinator = CoordinatorLink(to_coordinator, keeper, metrics, bulk_limits)
        broadcaster = BroadcasterLink(to_broadcasters, self._keeper("broadcaster", rng, metrics), metrics)
        known_transactions = KnownTransactions(asyncio.get_running_loop().call_soon)
        metrics.watch_known_transactions(lambda: known_transactions.distinct)
        self._parts = Parts(
            config=config,
            standing=Standing(local.node_id, frozenset(parse_enode(url).node_id for url in config.trusted_peer)),
            roster=Roster(),
            coordinator=coordinator,
            broadcaster=broadcaster,
            known_transactions=known_transactions,
            chain=ChainReader(to_coordinator, coordinator, metrics),
            digests=Digests(config.root_workers, metrics),
            sharing=share_loop(asyncio.get_running_loop(), config.write_timeout),
            metrics=metrics,
            traces=BlockTraces(tracer),
        )
        self._connections = Connections(self._parts, local, tasks)
        former_peers = open_former_peers(config.datadir)
        self._former = former_peers.recall()
        memory = PeerMemory(former_peers)
        restrict = config.net_restrict
        limits = DialLimits(
            redial_after_s=config.redial_after,
            # An outbound handshake is part of its dial, so this bounds the pending ones too.
            dials_at_once=min(DIALS_AT_ONCE, config.pending_peers),
            most_peers=config.maxpeers,
        )
        schedule = DialSchedule(limits, rng, local.node_id, restrict.allows if restrict is not None else None)
        self._dialler = Dialler(schedule, self._connections, memory, self._parts)
        self._parts.roster.watch(self._dialler)
        self._parts.roster.watch(memory)
        self._parts.roster.watch(known_transactions)
        self._orders = CoordinatorOrders(self._parts, self._dialler)
        settings = DiscoverySettings(boot_nodes=config.boot_nodes, advertised=config.advertised)
        if restrict is not None:
            settings = dataclasses.replace(settings, allowed=restrict.allows)
        self._finder = NodeFinder(local, settings, self._dialler, config.datadir, metrics)

    async def run(
        self,
        ports: BoundPorts,
        server: RpcServer,
        stop: asyncio.Event,
        ready: Callable[[Mapping[str, object]], None],
    ) -> None:
        """Work until `stop` is set, then say goodbye to the peers."""
        parts, tasks = self._parts, self._tasks
        orders = BroadcasterOrders(parts)
        background = [
            tasks.create_task(parts.coordinator.run(self._hello, self._orders), name="coordinator-link"),
            tasks.create_task(
                parts.broadcaster.run(self._broadcast_hello, parts.known_transactions.parts, orders),
                name="broadcaster-link",
            ),
            tasks.create_task(parts.digests.run(), name="root-workers"),
        ]
        await _first_of(parts.standing.has_status, stop)
        if not stop.is_set():
            listening = await listen(ports.tcp, self._connections)
            dialling = self._dialler.run(self._former, after_s=parts.config.dial_after)
            background.append(tasks.create_task(dialling, name="dialler"))
            if ports.udp is not None:
                background.append(tasks.create_task(self._finder.run(ports.udp), name="discovery"))
            await server.set_serving(True)
            node_id = self._local.node_id
            ready({"enode": str(self._enode()), "gateway_id": self._gateway_id, "node_id": node_id.hex()})
            await stop.wait()
            await server.set_serving(False)
            listening.close()
        await self._connections.close_all()
        await parts.coordinator.say_goodbye()
        for task in background:
            task.cancel()

    def _enode(self) -> Enode:
        """Where others reach us, as far as we know now; UDP port 0 when discovery is off."""
        config, tcp_port = self._parts.config, self._local.listen_port
        outside = self._finder.outside
        if outside is not None:
            return Enode(self._local.node_id, outside.host, tcp_port, outside.udp_port)
        host = config.advertised_address or reachable_host(config.host)
        return Enode(self._local.node_id, host, tcp_port, 0 if config.nodiscover else tcp_port)

    def _hello(self) -> gateway_link_pb2.GatewayHello:
        return gateway_link_pb2.GatewayHello(
            gateway_id=self._gateway_id,
            node_id=self._local.node_id,
            enode=str(self._enode()),
            peers=self._parts.roster.snapshot(),
            discovers=not self._parts.config.nodiscover,
            orders=self._parts.standing.orders,
            gateway_node_ids=sorted(self._parts.standing.siblings),
            netrestrict=self._parts.config.netrestrict or "",
        )

    def _broadcast_hello(self) -> broadcast_pb2.BroadcastHello:
        return broadcast_pb2.BroadcastHello(
            gateway_id=self._gateway_id,
            peers=self._parts.roster.broadcast_snapshot(),
            known_transactions_follow=True,
        )

    @staticmethod
    def _keeper(service: str, rng: random.Random, metrics: GatewayMetrics) -> LinkKeeper:
        return LinkKeeper(service, Backoff(rng, most_s=MOST_BACKOFF_S), metrics)


def _gateway_id(config: GatewayConfig, local: LocalNode) -> str:
    return config.gateway_id or local.node_id.hex()[:16]


async def _first_of(*events: asyncio.Event) -> None:
    """Return once one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
