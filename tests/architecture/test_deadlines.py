"""No unary call without a time-out: what calls a stub says how long it waits."""

from __future__ import annotations

import ast
from pathlib import Path

from blocksync.v1 import (
    blocks_pb2,
    broadcast_pb2,
    chain_reader_pb2,
    coordinator_pb2,
    gateway_link_pb2,
    transactions_pb2,
)
from grpc_health.v1 import health_pb2

ROOT = Path(__file__).parents[2]

CONTRACTS = (
    blocks_pb2,
    broadcast_pb2,
    chain_reader_pb2,
    coordinator_pb2,
    gateway_link_pb2,
    transactions_pb2,
    health_pb2,
)

UNARY = {
    method.name
    for contract in CONTRACTS
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.server_streaming and not method.client_streaming
}

SOURCES = sorted(path for part in ("services", "trisync") for path in (ROOT / part).rglob("*.py"))


def calls_without_timeout(source: str) -> list[int]:
    """Lines where a unary method of a contract is called without `timeout=`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in UNARY
        and not any(keyword.arg in ("timeout", None) for keyword in node.keywords)
    ]


def test_every_unary_call_has_a_timeout():
    found = {str(path.relative_to(ROOT)): calls_without_timeout(path.read_text()) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_call_without_a_timeout_is_found():
    planted = ["stub.GetStatus(1)", "stub.GetStatus(1, timeout=2)", "stub.WatchStatus(1)"]
    assert calls_without_timeout("\n".join(planted)) == [1]


def test_sources_have_calls_to_look_at():
    assert sum(path.read_text().count("timeout=") for path in SOURCES) > 10
