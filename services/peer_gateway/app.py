"""The composition root of the gateway."""

from __future__ import annotations

import asyncio
import platform
import random
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import Final

from blocksync.v1 import broadcast_pb2, gateway_link_pb2
from prometheus_client import CollectorRegistry

from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.dial_schedule import DialLimits, DialSchedule
from services.peer_gateway.edges.broadcaster_link import BroadcasterLink
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.commands import BroadcasterOrders, CoordinatorOrders
from services.peer_gateway.edges.connections import Connections
from services.peer_gateway.edges.coordinator_link import CoordinatorLink
from services.peer_gateway.edges.dialler import Dialler
from services.peer_gateway.edges.link import LinkKeeper
from services.peer_gateway.edges.listener import bind, listen
from services.peer_gateway.edges.node_key import load_node_key
from services.peer_gateway.edges.parts import Parts, Standing
from services.peer_gateway.edges.roster import Roster
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.rpc.channel import Backoff, open_channel
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metrics_http import MetricsServer, ProcessMetrics

STOP_GRACE_S: Final = 0.5
"""Time for running health checks to end when we stop."""
