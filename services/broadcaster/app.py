"""The composition root of the broadcaster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, transactions_pb2, transactions_pb2_grpc
from prometheus_client import CollectorRegistry

from services.broadcaster.config import BroadcasterConfig
from services.broadcaster.core.block_relay import BlockRelay
from services.broadcaster.core.fan_out import FanOut
from services.broadcaster.core.fates import Fates
from services.broadcaster.core.followed_chain import FollowedChain
from services.broadcaster.core.ledger import Ledger
from services.broadcaster.core.pending_pool import PendingPool
from services.broadcaster.core.transaction_relay import TransactionRelay
from services.broadcaster.edges.block_traces import BlockTraces
from services.broadcaster.edges.broadcast_servicer import BroadcastServicer
from services.broadcaster.edges.chain_watch import ChainWatch
from services.broadcaster.edges.checking_thread import CheckingThread
from services.broadcaster.edges.fate_board import FateBoard
from services.broadcaster.edges.gateway_links import GatewayLinks
from services.broadcaster.edges.gateway_servicer import GatewayServicer
from services.broadcaster.edges.journal_keeper import JournalKeeper
from services.broadcaster.edges.ledger_keeper import LedgerKeeper
from services.broadcaster.edges.ledger_servicer import LedgerServicer
from services.broadcaster.edges.local_journal import LocalJournal
from services.broadcaster.edges.pool_desk import PoolDesk, PoolParts
from services.broadcaster.edges.transaction_intake import TransactionIntake
from services.broadcaster.edges.transaction_peers import TransactionPeers
from services.broadcaster.edges.transaction_servicer import TransactionServicer
from services.broadcaster.metrics import BroadcasterMetrics
from services.broadcaster.pool_metrics import PoolMetrics
from services.shared.rpc.channel import Backoff, Endpoint
from services.shared.runtime.access import AccessInterceptor
from services.shared.runtime.callers import CallerCheck
from services.shared.runtime.credentials import open_tls
from services.shared.runtime.faults import StartRefused
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metrics_http import MetricsServer
from services.shared.runtime.rpc_metrics import RpcMetricsInterceptor
from services.shared.runtime.tracing import open_tracer

STOP_GRACE_S: Final = 1.0
"""Time for running calls to end when we stop; the streams are told at once, the calls take milliseconds."""


async def run(config: BroadcasterConfig, *, stop: asyncio.Event, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Run until `stop` is set; `ready` is called once gateways can attach, with the addresses."""
    registry = CollectorRegistry()
    metrics = BroadcasterMetrics(registry)
    metrics.fan_out.state(config.fan_out)
    metrics_server = MetricsServer(registry)

    tracer = open_tracer("broadcaster", config, metrics.traces)
    rng = random.Random()
    relay = BlockRelay(FanOut(config.fan_out), rng)
    # The links tell the pool of peers, and the pool has them send: the one that is built first finds the other later.
    links = GatewayLinks(relay, lambda: transaction_peers, metrics, config.gateway_queue_bytes, BlockTraces(tracer))
    parts = _pool_parts(config, metrics.pool, rng, links)
    desk = PoolDesk(parts)
    intake = TransactionIntake(parts, desk, links.accuse)
    transaction_peers = TransactionPeers(parts.relay, desk, intake)
    tls = open_tls(config)
    chain_watch = ChainWatch(Endpoint(config.coordinator, tls), parts.chain, desk, metrics, Backoff(rng))

    interceptors = [RpcMetricsInterceptor(metrics.rpc), AccessInterceptor(CallerCheck())]
    server = RpcServer(interceptors, config, tls=tls)
    _add_services(server, links, LedgerKeeper(Ledger(), metrics), TransactionServicer(parts, desk))
    try:
        addresses = [server.listen(address) for address in config.listen]
        metrics_port = await metrics_server.start(config.metrics_host, config.metrics_port)
        await server.start()
        await server.set_serving(True)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(chain_watch.run(), name="chain-watch"),
                tasks.create_task(intake.run(), name="transaction-intake"),
                tasks.create_task(desk.run(), name="pool"),
                tasks.create_task(metrics.process.watch_loop_lag(), name="loop-lag"),
            ]
            ready({"grpc": addresses, "metrics": f"{config.metrics_host}:{metrics_port}"})
            await stop.wait()
            for task in running:
                task.cancel()
    finally:
        links.end_all()
        await server.stop(STOP_GRACE_S)
        await metrics_server.stop()
        await tracer.close()
        parts.checker.close()
        parts.journal.close()


def _pool_parts(
    config: BroadcasterConfig, pool_metrics: PoolMetrics, rng: random.Random, links: GatewayLinks
) -> PoolParts:
    try:
        if config.datadir is not None:
            config.datadir.mkdir(parents=True, exist_ok=True)
        journal = JournalKeeper(None if config.datadir is None else LocalJournal(config.datadir), pool_metrics)
        journal.open()
    except OSError as problem:
        raise StartRefused(f"--datadir {config.datadir} cannot be used: {problem.strerror or problem}") from problem
    return PoolParts(
        pool=PendingPool(),
        relay=TransactionRelay(rng),
        chain=FollowedChain(),
        checker=CheckingThread(),
        fates=FateBoard(Fates()),
        journal=journal,
        metrics=pool_metrics,
        price_floor=config.price_floor,
        send=links.send_transactions,
    )


def _add_services(
    server: RpcServer, links: GatewayLinks, ledger: LedgerKeeper, transactions: TransactionServicer
) -> None:
    services = broadcast_pb2.DESCRIPTOR.services_by_name
    server.add(
        broadcast_pb2_grpc.add_BroadcastLinkServiceServicer_to_server,
        GatewayServicer(links, ledger),
        services["BroadcastLinkService"],
    )
    server.add(
        broadcast_pb2_grpc.add_BroadcastServiceServicer_to_server,
        BroadcastServicer(links, ledger),
        services["BroadcastService"],
    )
    server.add(
        transactions_pb2_grpc.add_TransactionServiceServicer_to_server,
        transactions,
        transactions_pb2.DESCRIPTOR.services_by_name["TransactionService"],
    )
    server.add(
        broadcast_pb2_grpc.add_LedgerServiceServicer_to_server, LedgerServicer(ledger.ledger), services["LedgerService"]
    )
