"""The coordinator's parts, put together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Final, NoReturn

from prometheus_client import CollectorRegistry

from services.shared.ethwire.types import BlockHash
from services.shared.runtime.access import AccessInterceptor
from services.shared.runtime.callers import CallerCheck
from services.shared.runtime.credentials import open_tls, open_tokens
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metrics_http import MetricsServer
from services.shared.runtime.rpc_metrics import RpcMetricsInterceptor
from services.shared.runtime.tracing import Tracer, open_tracer
from services.sync_coordinator.config import CoordinatorConfig, parse_whitelist
from services.sync_coordinator.core.announce_fetcher import AnnounceFetcher
from services.sync_coordinator.core.call_limits import CallLimits
from services.sync_coordinator.core.challenges import Challenges, DaoFork
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.reply_router import ReplyRouter
from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.core.sync_cycle import SyncCycle
from services.sync_coordinator.edges.block_feed import BlockFeed, FeedParts
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.block_submissions import BlockSubmissions
from services.sync_coordinator.edges.block_traces import BlockTraces
from services.sync_coordinator.edges.blocks_api import BlockServicer
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.call_guard import CallGuard
from services.sync_coordinator.edges.chain_reader import ChainReaderServicer
from services.sync_coordinator.edges.chain_watch import ChainWatchServicer, WatchParts
from services.sync_coordinator.edges.challenge_driver import ChallengeDriver
from services.sync_coordinator.edges.change_signal import ChangeSignal
from services.sync_coordinator.edges.dial_plans import DialPlans, NodeLists
from services.sync_coordinator.edges.diversion import Diversion
from services.sync_coordinator.edges.fetch_driver import FetchDriver, FetchImport, ImportParts, LightImport
from services.sync_coordinator.edges.gateway_link import GatewayLinkServicer
from services.sync_coordinator.edges.gateway_links import GatewayLinks
from services.sync_coordinator.edges.node_files import read_node_files, watch_node_files
from services.sync_coordinator.edges.node_gauges import NodeGauges
from services.sync_coordinator.edges.operator_api import CoordinatorServicer, OperatorParts
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.peer_orders import PeerOrders
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.propagations import Propagations
from services.sync_coordinator.edges.request_watch import RequestWatch, timeouts
from services.sync_coordinator.edges.rpc_services import add_services
from services.sync_coordinator.edges.status_board import NodeIdentity, StatusBoard
from services.sync_coordinator.edges.sync_activity import SyncActivity
from services.sync_coordinator.edges.sync_driver import SyncDriver, SyncParts
from services.sync_coordinator.edges.sync_explainer import SyncExplainer
from services.sync_coordinator.edges.transaction_proxy import TransactionProxy
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.node import NodeParts, SyncNode
from services.sync_coordinator.opened_chain import OpenedChain, end_when_damaged, open_chain

STOP_GRACE_S: Final = 0.5
"""How long open calls may take to end at shutdown; streams of gateways end at once and are dialled again."""


class _Stopped(Exception):
    """Raised inside the TaskGroup when the service is told to stop, so that every task is cancelled."""


async def run(config: CoordinatorConfig, *, stop: asyncio.Event, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Serve until `stop` is set. Raises StartRefused or ConfigInvalid when it cannot start.

    A task that fails ends the service: the store has all that was committed, and a restart resumes there.
    """
    registry = CollectorRegistry()
    metrics = CoordinatorMetrics(registry)
    async with AsyncExitStack() as stack:
        chain = await stack.enter_async_context(open_chain(config))
        metrics.watch_store(chain.store)
        metrics_server = MetricsServer(registry)
        metrics_port = await metrics_server.start(config.metrics_host, config.metrics_port)
        stack.push_async_callback(metrics_server.stop)
        tracer = open_tracer("coordinator", config, metrics.traces)
        stack.push_async_callback(tracer.close)
        tls, callers = open_tls(config), CallerCheck(open_tokens(config.operator_tokens))
        broadcaster = BroadcasterClient(config.broadcaster, tls=tls)
        stack.push_async_callback(broadcaster.close)
        # Left after the server, whose ending streams may still set a timer, and before the store.
        timers = stack.enter_context(ExitStack())
        diversion = Diversion(config.client_calls_per_second, metrics)
        access = AccessInterceptor(callers, on_refused=lambda path, context: guard.refused(path, context))  # noqa: PLW0108 - guard is bound later
        guard = CallGuard(CallLimits(config.client_calls_per_second), metrics, diversion.refused, access.identify)
        interceptors = [RpcMetricsInterceptor(metrics.rpc), guard, access]
        server = RpcServer(interceptors, config, diversion.open, tls)
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(metrics.process.watch_loop_lag(), name="loop-lag")
                tasks.create_task(end_when_damaged(chain.store), name="store-damage")
                links, node = assemble(config, chain, broadcaster, metrics, server, tasks, tracer)
                timers.callback(node.close)
                addresses = [server.listen(address) for address in config.listen]
                addresses += [server.listen(address, ask_certificate=False) for address in config.token_listen]
                await server.start()
                tasks.create_task(diversion.run(), name="diversion")
                await server.set_serving(True)
                chain.seals.prepare(chain.store.heads().header.number + 1)
                ready(
                    {
                        "grpc": addresses,
                        "metrics": f"{config.metrics_host}:{metrics_port}",
                        "genesis": f"0x{chain.genesis.header.hash.hex()}",
                        "head": chain.store.heads().full_block.number,
                    }
                )
                await stop.wait()
                # Before the tasks are cancelled: what gateways report until their streams end may need a task.
                links.close()
                diversion.close()
                await server.stop(STOP_GRACE_S)
                _stop_tasks()
        except* _Stopped:
            pass


def _stop_tasks() -> NoReturn:
    raise _Stopped


def assemble(
    config: CoordinatorConfig,
    chain: OpenedChain,
    broadcaster: BroadcasterClient,
    metrics: CoordinatorMetrics,
    server: RpcServer,
    tasks: asyncio.TaskGroup,
    tracer: Tracer | None = None,
) -> tuple[GatewayLinks, SyncNode]:
    """Tie the parts together and put their services on the server."""
    mode = SyncMode(config.syncmode)
    rng = random.Random()
    store, spec = chain.store, chain.genesis.spec
    # Parts that call back into the node, which is built last: the calls come only once gateways are attached.
    block_import = BlockImport(store, chain.rules, chain.seals, on_commit=lambda update: node.committed(update))  # noqa: PLW0108 - node is bound later
    peers, links, router, changes = PeerSet(config.maxpeers), GatewayLinks(), ReplyRouter(), ChangeSignal()
    penalties = PenaltyDesk(metrics)
    watch, activity = RequestWatch(metrics), SyncActivity()
    asker = PeerAsker(peers, links, router, penalties, watch)
    dao_fork = None if spec.dao_fork_block is None else DaoFork(spec.dao_fork_block, spec.dao_fork_support)
    whitelist = {number: BlockHash(value) for number, value in parse_whitelist(config.whitelist).items()}
    cycle = SyncCycle(
        min_peers=config.min_sync_peers,
        force_cycle_s=config.force_sync_cycle,
        now=asyncio.get_running_loop().time(),
    )
    driver = SyncDriver(
        SyncParts(
            mode=mode,
            config=DownloaderConfig(request_timeout_max_s=config.request_timeout),
            cycle=cycle,
            peers=peers,
            router=router,
            asker=asker,
            store=store,
            block_import=block_import,
            metrics=metrics,
            rng=rng,
            activity=activity,
            seal_sample=config.seal_sample,
        ),
        tasks,
        on_progress=lambda: node.progressed(),  # noqa: PLW0108 - node is bound later
        on_ended=lambda outcome: node.sync_ended(outcome),  # noqa: PLW0108 - node is bound later
    )
    import_parts = ImportParts(store, chain.rules, block_import, BlockTraces(tracer))
    is_light = mode is SyncMode.LIGHT
    fetcher = AnnounceFetcher(
        head_number=lambda: (store.heads().header if is_light else store.heads().full_block).number,
        has_block=(lambda block_hash: store.header(block_hash) is not None) if is_light else store.has_body,
        next_id=router.next_id,
        rng=rng,
        with_bodies=not is_light,
    )
    whole_blocks = None if is_light else FetchImport(import_parts, broadcaster, tasks, lambda: driver.is_fast_syncing)
    importing = whole_blocks or LightImport(import_parts, lambda: driver.is_running)
    submissions = BlockSubmissions(whole_blocks, store, lambda: driver.is_first_sync, tasks, metrics)
    propagations = Propagations(broadcaster.channels)
    broadcaster.on_announced = propagations.on_announced
    identity = NodeIdentity(
        network_id=chain.network_id,
        genesis_hash=chain.genesis.header.hash,
        genesis_total_difficulty=chain.genesis.header.difficulty,
        mode=mode,
        seal_check=chain.seal_check,
        spec=spec,
    )
    board = StatusBoard(identity, store, peers, links, driver, metrics)
    gauges = NodeGauges(mode, store, peers, links, driver)
    gauges.show(metrics)
    metrics.request_timeouts.follow(lambda: timeouts(driver.download_peers, fetcher.tally))
    chain_watch = ChainWatchServicer(WatchParts(board=board, store=store, reader=chain.feed_reader))
    feed = BlockFeed(
        FeedParts(
            store=store,
            genesis=chain.genesis.header.hash,
            is_light=is_light,
            reader=chain.feed_reader,
            changes=changes,
            revocable=lambda: driver.revocable_headers,
            metrics=metrics,
        )
    )
    lists = NodeLists.of_urls(static=config.static_peer, trusted=config.trusted_peer)
    plans = DialPlans(lists, peers, links, driver.on_peer_kept)
    # Read before the first gateway is here, so that its first plan is whole.
    files = read_node_files(config.datadir, plans.set_static_file, plans.set_trusted_file)
    tasks.create_task(watch_node_files(files), name="node-files")
    challenges = ChallengeDriver(
        Challenges(dao_fork, whitelist, router.next_id), spec.dao_fork_block, asker, peers, store
    )
    node = SyncNode(
        NodeParts(
            mode=mode,
            plans=plans,
            peers=peers,
            links=links,
            router=router,
            asker=asker,
            watch=watch,
            penalties=penalties,
            challenges=challenges,
            driver=driver,
            fetch=FetchDriver(fetcher, asker, importing, tasks, metrics),
            broadcaster=broadcaster,
            board=board,
            gauges=gauges,
            changes=changes,
            chain_watch=chain_watch,
            metrics=metrics,
        ),
        tasks,
    )
    add_services(
        server,
        GatewayLinkServicer(links, node, activity),
        ChainReaderServicer(store, metrics),
        CoordinatorServicer(
            OperatorParts(
                board=board,
                changes=changes,
                peers=peers,
                penalties=penalties,
                driver=driver,
                store=store,
                feed=feed,
                is_light=is_light,
                orders=PeerOrders(plans, peers, links, penalties),
                explainer=SyncExplainer(cycle, peers, driver, penalties, challenges),
            )
        ),
        chain_watch,
        TransactionProxy(broadcaster.transaction_stubs()),
        BlockServicer(submissions, propagations, store, peers),
    )
    return links, node
