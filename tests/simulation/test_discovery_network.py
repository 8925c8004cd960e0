"""Networks of discovery nodes in virtual time: they find each other, forget who leaves, and resist who floods."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.peer_gateway.core.addresses import UdpAddress, subnet_of
from services.peer_gateway.core.discovery_actions import Action
from services.peer_gateway.core.discv4_packets import open_packet, seal_packet, split_neighbors
from services.peer_gateway.core.discv4_types import Endpoint, FindNode, Ping, Pong
from services.peer_gateway.core.ecies import generate_key, node_id_of
from services.peer_gateway.core.node_table import (
    BUCKET_SIZE,
    SUBNET_NODES_PER_BUCKET,
    SUBNET_NODES_PER_TABLE,
)
from services.shared.chainspec.enode import Enode
from tests.support.nodes import FARTHEST, bucket_of
from tests.support.sim_discovery import PORT, UNIX_OFFSET_S, DiscoveryNet, SimNode

CONVERGED_S = 40.0
"""Virtual time after which a new network counts as settled: seeds, own lookup, random lookups, all with retries."""


LOOKUP_S = 12.0
"""Virtual time within which any lookup ends: about ten rounds of questions, some of them twice."""


def network(seed: int, count: int, loss: float = 0.0) -> DiscoveryNet:
    """`count` nodes that start at the same moment and know one of them."""
    net = DiscoveryNet(seed, loss)
    boot = net.node("boot", "20.0.0.1")
    for number in range(1, count):
        net.node(f"node-{number}", f"{20 + number // 200}.{number % 200}.0.1", [boot.enode])
    return net


Pair = tuple[SimNode, SimNode]


def lookups_that_miss(net: DiscoveryNet, pairs: list[Pair]) -> list[Pair]:
    """Let each first node look for the second, one after the other; the pairs where it is not found."""
    for seeker, _ in pairs:
        seeker.found.clear()
    for seeker, target in pairs:
        seeker.look_up(target.enode.node_id)
    most = max(Counter(seeker.host for seeker, _ in pairs).values(), default=0)
    net.run(LOOKUP_S * most)
    return [(seeker, target) for seeker, target in pairs if not has_found(seeker, target)]


def has_found(seeker: SimNode, target: SimNode) -> bool:
    return any(found.target == target.enode.node_id and target.enode in found.nodes for found in seeker.found)


def random_pairs(net: DiscoveryNet, count: int) -> list[Pair]:
    rng = random.Random(net.sim.seed)
    pairs = [(seeker, rng.choice(net.nodes)) for seeker in rng.choices(net.nodes, k=count)]
    return [(seeker, target) for seeker, target in pairs if seeker is not target]


def test_a_hundred_nodes_find_each_other_when_datagrams_get_lost():
    net = network(seed=1, count=100, loss=0.05)
    net.run(CONVERGED_S)
    # At most about 68 of 100 fit: all of the near ones, and 16 of each farther bucket.
    assert min(len(node.known) for node in net.nodes) >= 16
    assert sorted(len(node.known) for node in net.nodes)[50] >= 40
    missed = pairs = random_pairs(net, 60)
    for _ in range(3):
        missed = lookups_that_miss(net, missed)
    assert missed == []
    assert len({target.enode.node_id for _, target in pairs}) > 30


@pytest.mark.parametrize("seed", range(2))
def test_every_node_is_found_from_every_node_when_nothing_gets_lost(seed):
    net = network(seed, count=40)
    net.run(CONVERGED_S)
    pairs = [(seeker, target) for seeker in net.nodes[:6] for target in net.nodes if seeker is not target]
    assert lookups_that_miss(net, pairs) == []


def test_equal_seeds_give_equal_networks():
    def tables(seed: int) -> list[set[bytes]]:
        net = network(seed, count=12, loss=0.1)
        net.run(20.0)
        return [set(node.known) for node in net.nodes]

    assert tables(3) == tables(3)


def test_nodes_that_leave_are_forgotten_and_the_rest_stays_known():
    net = network(seed=5, count=40, loss=0.02)
    net.run(CONVERGED_S)
    gone, left = net.nodes[30:], net.nodes[:30]
    for node in gone:
        node.is_up = False
    gone_ids = {node.enode.node_id for node in gone}
    # About one check every 5 s, of 40 nodes in 5 or 6 buckets, each in its turn.
    net.run(1500.0)
    assert all(not node.known & gone_ids for node in left)
    assert min(len(node.known) for node in left) >= 15


class Sybils:
    """Mallory's many keys at addresses of hers. Each answers Pings, and names only others of them."""

    def __init__(self, net: DiscoveryNet, target: SimNode, addresses: list[str], bucket: int | None = None) -> None:
        self.net, self.target = net, target
        self.enodes: list[Enode] = []
        for number, host in enumerate(addresses):
            self._add(number, UdpAddress(host, PORT + number // 250), bucket)

    @property
    def ids(self) -> set[bytes]:
        return {node.node_id for node in self.enodes}

    def flood(self, rounds: int) -> None:
        """Every one pings the target, again and again."""
        for _ in range(rounds):
            for ping in self._pings:
                ping()
            self.net.run(10.0)

    def _add(self, number: int, address: UdpAddress, bucket: int | None) -> None:
        rng = random.Random(f"sybil {number}")
        key = generate_key(rng.randbytes)
        while bucket is not None and bucket_of(self.target.enode.node_id, node_id_of(key.public_key)) != bucket:
            key = generate_key(rng.randbytes)
        self.enodes.append(Enode(node_id_of(key.public_key), address.host, address.port, address.port))
        here = Endpoint(address.host, address.port, address.port)

        def expiration() -> int:
            return int(self.net.sim.now + UNIX_OFFSET_S) + 20

        def receive(datagram: bytes, source: UdpAddress) -> None:
            opened = open_packet(datagram)
            if isinstance(opened.packet, Ping):
                pong = Pong(Endpoint(*source, 0), opened.packet_hash, expiration())
                self.net.send(address, source, seal_packet(key, pong).datagram)
            elif isinstance(opened.packet, FindNode):
                for neighbors in split_neighbors(random.Random(number).sample(self.enodes, 16), expiration()):
                    self.net.send(address, source, seal_packet(key, neighbors).datagram)

        def ping() -> None:
            told = Ping(here, Endpoint(*self.target.address, 0), expiration())
            self.net.send(address, self.target.address, seal_packet(key, told).datagram)

        self.net.listen(address, receive)
        self._pings = [*getattr(self, "_pings", []), ping]


def test_flood_of_one_neighbourhood_gets_its_share_and_no_more():
    net = network(seed=7, count=30)
    net.run(CONVERGED_S)
    victim = net.nodes[3]
    honest = set(victim.known)
    sybils = Sybils(net, victim, [f"66.6.6.{1 + number % 250}" for number in range(300)])
    sybils.flood(rounds=12)
    assert honest <= victim.known
    intruders = [known.node for known in victim.discovery.table if known.node.node_id in sybils.ids]
    assert 0 < len(intruders) <= SUBNET_NODES_PER_TABLE
    per_bucket = Counter(bucket_of(victim.enode.node_id, node.node_id) for node in intruders)
    assert max(per_bucket.values()) <= SUBNET_NODES_PER_BUCKET


def test_flood_of_one_bucket_from_everywhere_pushes_no_honest_node_out():
    net = network(seed=8, count=40)
    net.run(CONVERGED_S)
    victim = net.nodes[3]
    honest = set(victim.known)
    sybils = Sybils(net, victim, [f"66.{number}.6.6" for number in range(120)], bucket=FARTHEST)
    assert len({subnet_of(node.host) for node in sybils.enodes}) == 120
    sybils.flood(rounds=12)
    assert honest <= victim.known
    assert len([node_id for node_id in victim.known if node_id in sybils.ids]) <= BUCKET_SIZE
    assert lookups_that_miss(net, [(victim, net.nodes[20]), (net.nodes[25], victim)]) == []


def test_liar_who_names_ghosts_fills_no_table():
    net = network(seed=9, count=20)
    net.run(CONVERGED_S)
    victim = net.nodes[3]
    honest = set(victim.known)
    rng = random.Random("ghosts")
    ghosts = [Enode(node_id_of(generate_key(rng.randbytes).public_key), f"77.{n}.0.1", PORT, PORT) for n in range(200)]
    liar = Sybils(net, victim, ["66.6.6.6"])
    liar.flood(rounds=1)
    liar.enodes += ghosts
    for _ in range(10):
        victim.look_up(liar.enodes[0].node_id)
        net.run(20.0)
    assert liar.enodes[0].node_id in victim.known
    assert victim.known <= honest | {liar.enodes[0].node_id} | {node.enode.node_id for node in net.nodes}
    offered = {node.node_id for found in victim.found for node in found.nodes}
    assert not offered & {ghost.node_id for ghost in ghosts}


def test_address_that_proves_nothing_is_sent_one_pong_and_one_ping_at_most():
    net = network(seed=10, count=2)
    net.run(CONVERGED_S)
    victim, reflector = UdpAddress("88.8.8.8", 53), net.nodes[1]
    net.records = True
    keys = [generate_key(random.Random(f"mallory {number}").randbytes) for number in range(30)]
    sent_bytes = 0
    for number in range(200):
        expiration = int(net.sim.now + UNIX_OFFSET_S) + 20
        key = keys[number % len(keys)]
        ping = Ping(Endpoint("", 0, 0), Endpoint("", 0, 0), expiration)
        packet = ping if number % 2 else FindNode(node_id_of(key.public_key), expiration)
        datagram = seal_packet(key, packet).datagram
        sent_bytes += len(datagram)
        reflector.receive(datagram, victim)
        net.run(0.1)
    kinds = Counter(type(open_packet(datagram).packet) for _, to, datagram in net.sent if to == victim)
    assert kinds.keys() <= {Ping, Pong}
    assert kinds[Pong] <= 100
    assert kinds[Ping] <= kinds[Pong]
    assert sum(len(datagram) for _, to, datagram in net.sent if to == victim) <= 2 * sent_bytes


def test_what_a_flood_of_strangers_makes_grow_is_bounded():
    net = network(seed=11, count=2)
    net.run(CONVERGED_S)
    victim = net.nodes[1]
    rng = random.Random("flood")
    actions: list[Action] = []
    for _ in range(3000):
        key = generate_key(rng.randbytes)
        ping = Ping(Endpoint("", 0, 0), Endpoint("", 0, 0), int(net.sim.now + UNIX_OFFSET_S) + 20)
        source = UdpAddress(f"{rng.randint(30, 200)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.7", 4000)
        actions += victim.discovery.receive(seal_packet(key, ping).datagram, source, net.sim.now)
    assert victim.discovery.pending_count <= 256
    assert len(victim.known) <= 2
    assert len(actions) <= 3000 + 2 * 1000 + 1000
