"""The ledger against a model that forgets nothing: every arrival and every stamp, in plain lists."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.broadcaster.core.ledger import BlockSource, Ledger
from services.shared.ethwire.types import Announce, BlockHash, PeerId

PEERS = [PeerId(number.to_bytes(64, "big")) for number in range(5)]
REMEMBERED, HEARD_PER_PEER = 4, 3

peers = st.sampled_from(PEERS)
numbers = st.integers(0, 12)
stamps = st.integers(1, 30)


def hash_of(number: int) -> BlockHash:
    return BlockHash(number.to_bytes(32, "big"))


class LedgerMachine(RuleBasedStateMachine):
    """A block is in the model's row once the coordinator named it; arrivals of the others may be forgotten."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(REMEMBERED, HEARD_PER_PEER)
        self.row: list[int] = []
        self.arrivals: dict[int, list[tuple[int, PeerId, bool]]] = {}
        """Of the blocks in the row, and of those before that nobody can have forgotten yet."""
        self.sent: dict[int, tuple[int, int]] = {}

    @rule(peer=peers, number=numbers, seen_us=stamps, whole=st.booleans())
    def arrive(self, peer, number, seen_us, whole):
        self.ledger.on_arrival(peer, [hash_of(number)], seen_us, whole=whole)
        if number in self.row:
            self.arrivals[number].append((seen_us, peer, whole))

    @rule(number=numbers, source=st.sampled_from(BlockSource), sent=st.integers(0, 9))
    def propagate(self, number, source, sent):
        self._name(number)
        self.ledger.on_propagated(Announce(hash_of(number), number), source, 5, counts=(sent, 9), now_us=6)
        self.sent[number] = (self.sent[number][0] + sent, self.sent[number][1])

    @rule(number=numbers, source=st.sampled_from(BlockSource), sent=st.integers(0, 9))
    def announce(self, number, source, sent):
        self._name(number)
        before = self.ledger.get(hash_of(number))
        was_announced = before is not None and before.announced_us > 0
        told = self.ledger.on_announced(Announce(hash_of(number), number), source, 7, sent_to=sent, now_us=8)
        assert (told is None) == was_announced
        self.sent[number] = (self.sent[number][0], self.sent[number][1] + sent)

    @rule(peer=peers)
    def leave(self, peer):
        self.ledger.on_peer_left(peer)

    def _name(self, number):
        if number in self.row:
            return
        self.row.append(number)
        del self.row[:-REMEMBERED]
        self.arrivals[number], self.sent[number] = [], (0, 0)
        record = self.ledger.get(hash_of(number))
        assert record is None, "a block that was forgotten begins anew"

    @invariant()
    def the_newest_blocks_are_remembered_in_the_order_they_were_named(self):
        assert [record.number for record in self.ledger.newest(100)] == self.row
        assert self.ledger.heard <= len(PEERS) * HEARD_PER_PEER

    @invariant()
    def what_was_sent_and_heard_since_is_counted(self):
        for number in self.row:
            record = self.ledger.get(hash_of(number))
            assert record is not None
            assert (record.propagated_to, record.announced_to) == self.sent[number]
            heard = self.arrivals[number]
            assert record.whole_arrivals + record.hash_arrivals >= len(heard)
            if heard:
                assert 0 < record.first_seen_us <= min(seen_us for seen_us, _, _ in heard)

    @invariant()
    def first_peers_are_those_of_the_remembered_blocks(self):
        firsts: dict[PeerId, list[bool]] = {}
        for record in self.ledger.newest(100):
            if record.first_seen_from is not None:
                firsts.setdefault(record.first_seen_from, []).append(record.first_seen_whole)
        told = {one.peer: (one.first, one.first_whole) for one in self.ledger.first_peers()}
        assert told == {peer: (len(whole), sum(whole)) for peer, whole in firsts.items()}
        counts = [one.first for one in self.ledger.first_peers()]
        assert counts == sorted(counts, reverse=True)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
