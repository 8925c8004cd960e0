"""The traces of blocks, as a collector has them from three real services."""

from __future__ import annotations

import socket

import pytest

from services.shared.ethwire.messages import NewBlock, NewBlockHashes
from services.shared.ethwire.types import Announce
from tests.support.chain_peers import RelayEar, dial_in
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.trace_collector import KeptSpan, TraceCollector, running_collector

pytestmark = pytest.mark.integration

BLOCKS = chain_blocks(20)
CHAIN = peer_chain(BLOCKS)
BLOCK = next_block(BLOCKS)
LONGER = peer_chain([*BLOCKS, BLOCK])
TRACE_ID = BLOCK.header.hash[:16].hex()
NEW_BLOCK = NewBlock(BLOCK.header.header_rlp, BLOCK.body_rlp, LONGER.total_difficulties[-1])


async def synced_peers(stack: Stack, count: int) -> tuple[ScriptedPeer, list[RelayEar]]:
    """One that has a block to tell of, and others spread over the gateways."""
    gateways = [stack.enode_of(gateway) for gateway in stack.gateways]
    alice = await dial_in(gateways[0], "alice", CHAIN)
    await stack.until_head(CHAIN.headers[-1])
    names = [f"peer-{index}" for index in range(count)]
    ears = [RelayEar(await dial_in(gateways[at % len(gateways)], name, CHAIN)) for at, name in enumerate(names)]

    async def are_known() -> bool:
        return await stack.broadcaster.metric("broadcaster_peers") == count + 1

    await until(are_known, "all peers at the broadcaster")
    return alice, ears


async def trace_of(collector: TraceCollector, spans: int) -> list[KeptSpan]:
    """The spans of the block, once there are so many: each service sends its own when it has them."""

    def whole() -> list[KeptSpan] | None:
        trace = [span for span in collector.spans if span.trace_id == TRACE_ID]
        return trace if len(trace) >= spans else None

    found: list[KeptSpan] = await until(whole, f"{spans} spans of the block")
    return found


def children(trace: list[KeptSpan], parent: KeptSpan) -> list[KeptSpan]:
    return [span for span in trace if span.parent_id == parent.span_id]


@in_one_loop
async def test_propagated_block_is_one_trace_through_the_three_services_in_order() -> None:
    async with (
        running_collector() as collector,
        running_stack(trace_endpoint=collector.endpoint) as stack,
    ):
        alice, ears = await synced_peers(stack, 6)
        alice.send(NEW_BLOCK)
        await until(lambda: all(ear.knows(BLOCK.header.hash) for ear in ears), "the block at every peer")
        trace = await trace_of(collector, spans=9)
        # The head that the sync ended with is announced too, which is a trace of its own.
        others = {span.trace_id for span in collector.spans} - {TRACE_ID}
        assert others <= {CHAIN.headers[-1].hash[:16].hex()}
        assert len({span.span_id for span in trace}) == len(trace)
        [heard] = [span for span in trace if not span.parent_id]
        assert (heard.service, heard.name) == ("peer_gateway", "block heard")
        [taken] = children(trace, heard)
        assert (taken.service, taken.name, taken.attributes["outcome"]) == ("coordinator", "block taken", "imported")
        steps = {span.name: span for span in children(trace, taken)}
        assert [span.name for span in sorted(steps.values(), key=lambda span: span.started_ns)] == [
            *("header check", "seal check"),
            *sorted(("fan-out decision", "import"), key=lambda name: steps[name].started_ns),
            "announce decision",
        ]
        for decision, message, peers in (
            (steps["fan-out decision"], "NewBlock", 4),
            (steps["announce decision"], "NewBlockHashes", 2),
        ):
            assert decision.service == "broadcaster"
            [sent] = children(trace, decision)
            assert (sent.service, sent.instance, sent.name) == ("peer_gateway", "gateway-0", "sent to peers")
            assert sent.attributes["message"] == message
            assert sent.attributes["peers.chosen"] == sent.attributes["peers.written"] == peers
            assert heard.started_ns < taken.started_ns < decision.started_ns < sent.started_ns <= sent.ended_ns
        assert all(span.attributes["block.hash"] == f"0x{BLOCK.header.hash.hex()}" for span in trace)


@in_one_loop
async def test_announced_block_is_one_trace_with_its_fetch_over_two_gateways() -> None:
    async with (
        running_collector() as collector,
        running_stack(trace_endpoint=collector.endpoint, gateways=2) as stack,
    ):
        alice, ears = await synced_peers(stack, 2)
        alice.answer = LONGER.answer
        alice.send(NewBlockHashes([Announce(BLOCK.header.hash, BLOCK.header.number)]))
        await until(lambda: all(ear.knows(BLOCK.header.hash) for ear in ears), "the block at every peer")
        trace = await trace_of(collector, spans=10)
        [heard] = [span for span in trace if not span.parent_id]
        assert heard.attributes["block.whole"] is False
        [taken] = children(trace, heard)
        steps = {span.name: span for span in children(trace, taken)}
        assert steps.keys() == {
            *("block fetched", "header check", "seal check", "import"),
            *("fan-out decision", "announce decision"),
        }
        assert steps["block fetched"].ended_ns <= steps["header check"].started_ns
        sent = children(trace, steps["fan-out decision"])
        assert {span.instance for span in sent} == {"gateway-0", "gateway-1"}


@in_one_loop
async def test_block_goes_its_way_when_the_collector_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with running_stack(trace_endpoint=endpoint) as stack:
            alice, ears = await synced_peers(stack, 1)
            alice.send(NEW_BLOCK)
            await until(lambda: ears[0].knows(BLOCK.header.hash), "the block at the other peer")
            lost = 'coordinator_trace_spans_total{outcome="lost"}'

            async def are_counted() -> bool:
                return await stack.coordinator.metric(lost) >= 4

            await until(are_counted, "lost spans to be counted")
        warnings = [line for line in stack.log.lines if "traces" in line["event"]]
        assert 1 <= len(warnings) <= 3, "one of each service at most"
        assert all(line["level"] == "warning" and line["collector"] == endpoint for line in warnings)
