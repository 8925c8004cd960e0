"""How blocks get through a network whose nodes run the real fetcher, relay and send queues."""

from __future__ import annotations

import math
import random

import pytest

from services.broadcaster.core.fan_out import FanOut, fan_out_count
from services.shared.ethwire.types import BlockHash
from tests.support.sim_net import SimNet
from tests.support.sim_spread import Spread, SpreadNode, connect_by_chance

DEGREE = 16


def network(count: int, seed: int, fan_out: FanOut = FanOut.SEED) -> tuple[SimNet, Spread, list[SpreadNode]]:
    net, spread = SimNet(seed), Spread()
    nodes = [SpreadNode(number, net, spread, fan_out) for number in range(count)]
    connect_by_chance(nodes, DEGREE, random.Random(seed))
    return net, spread, nodes


def most_rounds(spread: Spread, block_hash: BlockHash) -> int:
    return max(rounds for (_, known), rounds in spread.rounds.items() if known == block_hash)


def check_sends(spread: Spread, nodes: list[SpreadNode], block_hash: BlockHash, fan_out: FanOut) -> None:
    """Every link carries a block once in a direction at most, and full copies stay within the fan-out."""
    assert (spread.repeated, spread.in_vain, spread.dropped) == (0, 0, [])
    assert spread.whole[block_hash] <= sum(fan_out_count(fan_out, len(node.peers)) for node in nodes)
    links = sum(len(node.peers) for node in nodes)
    assert len(nodes) - 1 <= spread.whole[block_hash] + spread.hashes[block_hash] <= links


def test_a_block_reaches_a_thousand_nodes_within_a_few_rounds_and_few_full_copies():
    net, spread, nodes = network(1000, seed=1)
    for _ in range(2):
        block_hash = net.rng.choice(nodes).mine().header.hash
        net.run_until(net.now + 5.0)
        assert all(node.head == block_hash for node in nodes)
        assert most_rounds(spread, block_hash) <= 10
        assert spread.whole[block_hash] <= math.isqrt(len(nodes)) * len(nodes)
        check_sends(spread, nodes, block_hash, FanOut.SEED)


@pytest.mark.parametrize("fan_out", FanOut)
@pytest.mark.parametrize("seed", range(10))
def test_every_node_hears_of_every_block_whatever_the_policy(fan_out: FanOut, seed: int):
    net, spread, nodes = network(60, seed, fan_out)
    for _ in range(3):
        block_hash = net.rng.choice(nodes).mine().header.hash
        net.run_until(net.now + 8.0)
        assert all(node.head == block_hash for node in nodes)
        check_sends(spread, nodes, block_hash, fan_out)


@pytest.mark.parametrize("seed", range(20))
def test_a_partition_that_heals_ends_with_one_head(seed: int):
    net, _, nodes = network(60, seed)
    east, west = nodes[:30], nodes[30:]
    cut = [(node, peer) for node in east for peer in list(node.peers.values()) if peer in west]
    for node, peer in cut:
        node.disconnect(peer)
    # Each half must hang together, which a ring that was cut at two places does not promise by itself.
    for half in (east, west):
        connect_by_chance(half, 6, net.rng)
    for _ in range(5):
        net.rng.choice(east).mine(branch=1)
        net.rng.choice(west).mine(branch=2, difficulty=1100)
        net.run_until(net.now + 5.0)
    assert {len({node.head for node in half}) for half in (east, west)} == {1}
    assert east[0].head != west[0].head
    for node, peer in cut:
        node.connect(peer)
    heads = set[BlockHash]()
    for _ in range(6):
        net.rng.choice(west).mine(branch=2, difficulty=1100)
        net.run_until(net.now + 10.0)
        heads = {node.head for node in nodes}
        if len(heads) == 1:
            break
    assert heads == {west[0].head}


@pytest.mark.parametrize("seed", range(3))
def test_node_behind_a_slow_line_delays_nobody_and_catches_up(seed: int):
    net, spread, nodes = network(30, seed)
    slow, miner = nodes[0], nodes[1]
    for peer in slow.peers.values():
        peer.lines[slow.peer_id].bytes_per_s = 50.0
    for _ in range(40):
        newest = miner.mine().header.hash
        net.run_until(net.now + 1.0)
    net.run_until(net.now + 4.0)
    assert all(node.head == newest for node in nodes[1:])
    assert spread.refused
    for peer in slow.peers.values():
        peer.lines[slow.peer_id].bytes_per_s = 10.0**6
    for _ in range(4):
        newest = miner.mine().header.hash
        net.run_until(net.now + 30.0)
    assert all(node.head == newest for node in nodes)
    assert (spread.repeated, spread.in_vain, spread.dropped) == (0, 0, [])


def test_equal_seeds_spread_equally():
    def totals(seed: int) -> tuple[int, int]:
        net, spread, nodes = network(60, seed)
        nodes[0].mine()
        net.run_until(5.0)
        return spread.whole.total(), spread.hashes.total()

    assert totals(3) == totals(3) != totals(4)
