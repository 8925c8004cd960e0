"""What a live stack shows at its three /metrics: every declared metric, nothing else, and what moved."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.shared.ethwire.messages import BlockHeaders, GetBlockHeaders, NewBlock
from services.shared.runtime.metric_catalogue import MetricType
from tests.support.chain_peers import RelayEar, dial_in
from tests.support.deadlines import until
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Service, Stack, in_one_loop, running_stack
from tools.metrics_reference import all_metrics

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(300))
HEAD = CHAIN.headers[-1]


async def samples_of(service: Service) -> tuple[set[tuple[str, str]], list[Sample]]:
    """The metrics of a page, as (name, type), and its series."""
    page = (await service.metrics_page()).partition("\r\n\r\n")[2]
    families = list(text_string_to_metric_families(page))
    return {(family.name, family.type) for family in families}, [one for family in families for one in family.samples]


def declared(service: str) -> set[tuple[str, str]]:
    return {
        (metric.name.removesuffix("_total"), "gauge" if metric.type is MetricType.STATE else metric.type.value)
        for metric in all_metrics()
        if metric.service == service
    }


class Pages:
    """All three pages of one moment."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def __getitem__(self, name: str) -> float:
        """`name{label=value,…}`, summed over the labels that are left out."""
        name, _, wanted = name.rstrip("}").partition("{")
        labels = dict(pair.split("=") for pair in wanted.split(",") if pair)
        found = [one.value for one in self._samples if one.name == name and labels.items() <= one.labels.items()]
        assert found, f"{name} {labels} is not shown"
        return sum(found)


async def pages_of(stack: Stack) -> Pages:
    return Pages([sample for service in stack.services for sample in (await samples_of(service))[1]])


async def propagate(stack: Stack, count: int) -> None:
    """`count` peers join, one of them has the chain, and then the block after it, which a second one sends too."""
    block = next_block(chain_blocks(300))
    message = NewBlock(block.header.header_rlp, block.body_rlp, CHAIN.total_difficulties[-1] + block.header.difficulty)
    alice = await dial_in(stack.enode, "alice", CHAIN)
    await stack.until_head(HEAD)
    ears = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(count - 1)]

    async def broadcaster_has_all() -> bool:
        return await stack.broadcaster.metric("broadcaster_peers") == count

    await until(broadcaster_has_all, "all peers at the broadcaster")
    alice.send(message)
    await until(lambda: all(ear.knows(block.header.hash) for ear in ears), "the block at every peer")
    alice.send(message)
    alice.send(GetBlockHeaders(301, 1, 0, False))
    await alice.receive(BlockHeaders)

    async def is_counted() -> bool:
        return await stack.broadcaster.metric("broadcaster_duplicate_blocks_total") >= 1

    await until(is_counted, "the block that came twice, counted")


@in_one_loop
async def test_pages_show_what_is_declared_and_nothing_else() -> None:
    async with running_stack() as stack:
        for name, service in (
            ("coordinator", stack.coordinator),
            ("peer_gateway", stack.gateway),
            ("broadcaster", stack.broadcaster),
        ):
            shown, _ = await samples_of(service)
            assert shown == declared(name)


@in_one_loop
async def test_metrics_move_when_a_chain_is_synced_and_a_block_spreads() -> None:
    async with running_stack() as stack:
        before = await pages_of(stack)
        assert before["ethereum_blockchain_height"] == 0
        assert before["coordinator_fetcher_total{kind=broadcast,outcome=in}"] == 0
        await propagate(stack, 7)
        after = await pages_of(stack)

    assert after["ethereum_blockchain_height"] == after["ethereum_best_known_block_number"] == 301
    assert after["ethereum_peer_count"] == after["coordinator_peers"] == after["peer_gateway_peers"] == 7
    assert after["ethereum_peer_limit"] >= 25
    assert after["peer_gateway_peers{direction=in,version=63}"] == 7
    for name in ("BlockHeaders", "BlockBodies", "NewBlock", "Status"):
        assert after[f"peer_gateway_messages_total{{direction=in,name={name}}}"] >= 1
        assert after[f"peer_gateway_message_bytes_total{{direction=in,name={name}}}"] > 50
    # One Status each, one answer to alice, and the block to four of six.
    assert after["peer_gateway_messages_total{direction=out,name=Status}"] == 7
    assert after["peer_gateway_messages_total{direction=out,name=NewBlock}"] == 4
    assert after["peer_gateway_messages_total{direction=out,name=BlockHeaders}"] >= 1
    for kind in ("headers", "bodies"):
        assert (
            after[f"coordinator_request_seconds_count{{kind={kind}}}"]
            == after[f"coordinator_requests_total{{kind={kind}}}"]
        )
        assert after[f"coordinator_requests_in_flight{{kind={kind}}}"] == 0
        assert after[f"coordinator_request_timeouts_total{{kind={kind}}}"] == 0
        assert after[f"coordinator_peer_capacity_items{{kind={kind}}}"] > 0
    for activity in ("prepare", "wait_for_peer", "handle"):
        assert 0 < after[f"coordinator_sync_seconds_total{{activity={activity}}}"] < 30
    assert after["coordinator_sync_phase{coordinator_sync_phase=idle}"] == 1
    assert after["coordinator_syncs_total{outcome=done}"] == 1
    assert after["coordinator_best_peer_total_difficulty_lead"] == 0
    assert 0 <= after["coordinator_seconds_since_new_head"] < 60
    assert after["coordinator_fetcher_total{kind=broadcast,outcome=in}"] == 2
    assert after["coordinator_fetcher_total{kind=broadcast,outcome=out}"] == 1
    assert after["coordinator_fetcher_total{kind=broadcast,outcome=dropped}"] == 1
    assert 0 < after["coordinator_store_bytes"] < after["coordinator_store_limit_bytes"]
    assert after["coordinator_store_free_disk_bytes"] > 0
    assert after["coordinator_store_commit_seconds_count"] >= 2
    assert after["broadcaster_peer_sends_total{kind=propagate}"] == 4
    assert after["broadcaster_skipped_known_total"] == 1
    assert after["broadcaster_first_seen_to_forwarded_seconds_count"] == 1
    assert after["coordinator_rpc_calls_total{method=CoordinatorService/GetStatus,code=OK}"] >= 1
    assert after["coordinator_rpc_in_flight"] >= 3
    assert after["broadcaster_rpc_calls_total{method=BroadcastService/Propagate,code=OK}"] == 1
    for service in ("coordinator", "peer_gateway", "broadcaster"):
        assert after[f"{service}_build_info"] == 1


@in_one_loop
async def test_the_best_peers_lead_is_shown_while_too_few_peers_are_there() -> None:
    async with running_stack(min_sync_peers=2) as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_peers(1)
        lead = await stack.coordinator.metric("coordinator_best_peer_total_difficulty_lead")
        assert lead == CHAIN.total_difficulties[-1] - CHAIN.total_difficulties[0]


@in_one_loop
async def test_a_sync_that_the_forced_cycle_starts_is_counted() -> None:
    async with running_stack(min_sync_peers=2, force_sync_cycle=0.3) as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        assert await stack.coordinator.metric("coordinator_forced_syncs_total") == 1
