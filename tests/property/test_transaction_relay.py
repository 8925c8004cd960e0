"""Whoever lacks a transaction is sent it once, whoever has it is not, through any coming and going of peers."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.core.transaction_relay import SendTransactions, TransactionRelay
from services.shared.ethwire.types import PeerId, TransactionHash
from tests.support.transactions import Draft

GATEWAYS = [GatewayId("east"), GatewayId("west")]
PEERS = [PeerId(bytes([number]) * 64) for number in range(5)]
TEMPLATE = Draft().checked().transaction

gateways, peers = st.sampled_from(GATEWAYS), st.sampled_from(PEERS)


class RelayMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.relay = TransactionRelay(random.Random(5))
        self.pool: dict[TransactionHash, Transaction] = {}
        self.has: dict[PeerId, set[TransactionHash]] = {}
        """Of each connected peer what it really has."""
        self.gateway_of: dict[PeerId, GatewayId] = {}
        self.new: set[PeerId] = set()
        """Peers that connected since the relay started."""
        self.away: dict[PeerId, GatewayId] = {}
        self.telling: dict[GatewayId, list[tuple[TransactionHash, list[PeerId]]]] = {}
        """Of gateways that came back to a relay that has forgotten all: what they have not told yet."""

    def new_transaction(self) -> Transaction:
        number = len(self.pool)
        made = TEMPLATE._replace(hash=TransactionHash(number.to_bytes(32)), wire=bytes(20_000 * (1 + number % 3)))
        self.pool[made.hash] = made
        return made

    def arrives(self, send: SendTransactions) -> None:
        for peer in send.peers:
            assert self.gateway_of[peer] == send.gateway
            assert send.gateway not in self.telling or peer in self.new, "sent before its gateway has told all"
            for transaction in send.transactions:
                assert transaction.hash not in self.has[peer], "sent to a peer that has it"
                self.has[peer].add(transaction.hash)

    @rule(gateway=gateways, peer=peers)
    def a_peer_connects(self, gateway, peer):
        self.relay.join(gateway, peer, list(self.pool))
        self.gateway_of[peer], self.has[peer] = gateway, set()
        self.new.add(peer)
        self.away.pop(peer, None)

    @rule(gateway=gateways, peer=peers)
    def a_peer_leaves(self, gateway, peer):
        is_there = self.gateway_of.get(peer) == gateway
        assert self.relay.leave(gateway, peer) == is_there
        if is_there:
            del self.gateway_of[peer], self.has[peer]

    @rule(gateway=gateways)
    def a_gateway_is_lost(self, gateway):
        gone = {peer for peer, its in self.gateway_of.items() if its == gateway}
        assert self.relay.suspend(gateway, self.now) == gone
        self.telling.pop(gateway, None)
        self.new -= gone
        for peer in gone:
            del self.gateway_of[peer]
            self.away[peer] = gateway

    @rule(gateway=gateways, anew=st.sets(peers))
    def a_gateway_is_back_with_the_same_peers(self, gateway, anew):
        """Some of whom have connected anew meanwhile, and begin with nothing."""
        back = [peer for peer, its in self.away.items() if its == gateway]
        if not back:
            return
        self.has |= {peer: set() for peer in back if peer in anew}
        self.relay.attach_awaited(gateway, back, 0.0)
        told = [(one, [peer for peer in back if one in self.has[peer]]) for one in self.pool]
        self.telling[gateway] = [*self.telling.get(gateway, []), *told]
        for peer in back:
            del self.away[peer]
            self.gateway_of[peer] = gateway

    @rule()
    def the_broadcaster_restarts(self):
        self.relay = TransactionRelay(random.Random(6))
        self.away |= self.gateway_of
        self.gateway_of, self.new, self.telling = {}, set(), {}

    @rule(gateway=gateways, most=st.integers(1, 5))
    def a_gateway_tells_a_part(self, gateway, most):
        if gateway not in self.telling:
            return
        part, self.telling[gateway] = self.telling[gateway][:most], self.telling[gateway][most:]
        for transaction_hash, knowers in part:
            # Of who has left meanwhile, or come again, it says what is true now.
            still = [peer for peer in knowers if self.gateway_of.get(peer) == gateway and peer not in self.new]
            self.relay.know(gateway, [None, *still], [(transaction_hash, 2 ** (len(still) + 1) - 1)])
        if not self.telling[gateway]:
            del self.telling[gateway]
            self.relay.all_known(gateway, list(self.pool))

    @rule(peer=peers, count=st.integers(1, 4), split=st.booleans())
    def transactions_come(self, peer, count, split):
        batch = [self.new_transaction() for _ in range(count)]
        gateway = self.gateway_of.get(peer)
        if gateway is not None:
            assert self.relay.mark_known(gateway, peer, [one.hash for one in batch])
            self.has[peer] |= {one.hash for one in batch}
        for part in [[one] for one in batch] if split else [batch]:
            for send in self.relay.relay(part):
                self.arrives(send)

    @rule()
    def a_pack_is_sent(self):
        pack = self.relay.next_pack(self.pool.get)
        if pack is not None:
            self.arrives(pack)

    @rule(most=st.integers(1, 30))
    def there_is_time_to_sweep(self, most):
        self.relay.sweep(most)

    @rule()
    def a_second_passes(self):
        self.now += 1.0
        self.relay.let_go(self.now)

    @invariant()
    def peers_are_those_of_the_gateways(self):
        assert self.relay.peers == len(self.gateway_of)

    def teardown(self):
        for gateway in list(self.telling):
            while gateway in self.telling:
                self.a_gateway_tells_a_part(gateway, 100)
        while (pack := self.relay.next_pack(self.pool.get)) is not None:
            self.arrives(pack)
        for peer in self.gateway_of:
            assert self.has[peer] == set(self.pool), "something pending never reached a peer"


RelayMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
test_every_peer_that_lacks_a_transaction_is_sent_it_once = RelayMachine.TestCase
