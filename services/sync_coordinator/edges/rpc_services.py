"""Puts the coordinator's services on its server."""

from __future__ import annotations

from blocksync.v1 import (
    blocks_pb2,
    blocks_pb2_grpc,
    chain_reader_pb2,
    chain_reader_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    gateway_link_pb2,
    gateway_link_pb2_grpc,
    transactions_pb2,
    transactions_pb2_grpc,
)

from services.shared.runtime.grpc_server import RpcServer
from services.sync_coordinator.edges.blocks_api import BlockServicer
from services.sync_coordinator.edges.chain_reader import ChainReaderServicer
from services.sync_coordinator.edges.chain_watch import ChainWatchServicer
from services.sync_coordinator.edges.gateway_link import GatewayLinkServicer
from services.sync_coordinator.edges.operator_api import CoordinatorServicer
from services.sync_coordinator.edges.transaction_proxy import TransactionProxy


def add_services(
    server: RpcServer,
    gateway_link: GatewayLinkServicer,
    chain_reader: ChainReaderServicer,
    coordinator: CoordinatorServicer,
    chain_watch: ChainWatchServicer,
    transactions: TransactionProxy,
    blocks: BlockServicer,
) -> None:
    server.add(
        gateway_link_pb2_grpc.add_GatewayLinkServiceServicer_to_server,
        gateway_link,
        gateway_link_pb2.DESCRIPTOR.services_by_name["GatewayLinkService"],
    )
    server.add(
        chain_reader_pb2_grpc.add_ChainReaderServiceServicer_to_server,
        chain_reader,
        chain_reader_pb2.DESCRIPTOR.services_by_name["ChainReaderService"],
    )
    server.add(
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server,
        coordinator,
        coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"],
    )
    server.add(
        coordinator_pb2_grpc.add_ChainWatchServiceServicer_to_server,
        chain_watch,
        coordinator_pb2.DESCRIPTOR.services_by_name["ChainWatchService"],
    )
    server.add(
        transactions_pb2_grpc.add_TransactionServiceServicer_to_server,
        transactions,
        transactions_pb2.DESCRIPTOR.services_by_name["TransactionService"],
    )
    server.add(
        blocks_pb2_grpc.add_BlockServiceServicer_to_server,
        blocks,
        blocks_pb2.DESCRIPTOR.services_by_name["BlockService"],
    )
