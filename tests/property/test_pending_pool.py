"""The pool against a plain model of it, through any history."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.broadcaster.core.pending_pool import PendingPool
from services.broadcaster.core.pool_limits import PoolLimits
from services.broadcaster.core.transaction_check import CheckedTransaction, Refused
from services.shared.ethwire.types import PeerId
from tests.support.transactions import Draft

LIMITS = PoolLimits(
    transactions=6, guaranteed_per_sender=2, remote_per_sender=4, per_peer=4, lifetime_s=100.0, local_lifetime_s=400.0
)
PEERS = [PeerId(bytes([number]) * 64) for number in range(3)]
DRAFTS = [
    Draft(account=account, nonce=nonce, price=price)
    for account in range(4)
    for nonce in range(5)
    for price in (10, 11, 20)
]
CHECKED = [draft.checked() for draft in DRAFTS]

places = st.integers(0, len(CHECKED) - 1)


def price_of(checked: CheckedTransaction) -> tuple[int, int]:
    return checked.transaction.fee_cap, checked.transaction.tip_cap


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = PendingPool(LIMITS)
        self.model: dict[bytes, tuple[CheckedTransaction, PeerId | None, bool, float]] = {}
        self.chain: list[list[CheckedTransaction]] = []
        self.floor: dict[bytes, int] = {}
        """The highest nonce that the chain has used of a sender: all below it are used too, as on any chain."""

    def hashes(self) -> set[bytes]:
        return {pooled.hash for pooled in self.pool.shelves}

    def used(self, checked: CheckedTransaction) -> bool:
        return self.floor.get(checked.sender, -1) >= checked.transaction.nonce

    def same_place(self, checked: CheckedTransaction) -> bytes | None:
        for known, (one, _, _, _) in self.model.items():
            if (one.sender, one.transaction.nonce) == (checked.sender, checked.transaction.nonce):
                return known
        return None

    def senders(self) -> Counter[bytes]:
        return Counter(one.sender for one, _, _, _ in self.model.values())

    def added(self, checked: CheckedTransaction, source: PeerId | None, *, local: bool) -> None:
        """What the specification wants of one transaction, next to what the pool does."""
        transaction_hash = checked.transaction.hash
        before, may = dict(self.model), True
        old = self.same_place(checked)
        senders = self.senders()
        if transaction_hash in self.model:
            if local and not self.model[transaction_hash][2]:
                self.model[transaction_hash] = (checked, None, True, self.model[transaction_hash][3])
        elif self.used(checked):
            may = False
        elif old is not None:
            one, old_source, was_local, _ = self.model[old]
            full = sum(entry[1] == source for entry in self.model.values()) >= LIMITS.per_peer
            may = checked.transaction.fee_cap * 10 >= one.transaction.fee_cap * 11
            may = may and (source is None or not full or old_source == source)
            if may:
                del self.model[old]
                self.model[transaction_hash] = (checked, source, local or was_local, self.now)
        else:
            if not local:
                may = senders[checked.sender] < LIMITS.remote_per_sender
                may = may and (
                    source is None or sum(entry[1] == source for entry in self.model.values()) < LIMITS.per_peer
                )
            if may and len(self.model) >= LIMITS.transactions:
                may = self.make_room(checked, local=local)
            if may:
                self.model[transaction_hash] = (checked, source, local, self.now)
        try:
            result = (
                self.pool.add_local(checked, self.now) if local else self.pool.add_remote(checked, source, self.now)
            )
        except Refused:
            assert not may, "refused what the specification takes"
            assert self.model == before
        else:
            assert may, "took what the specification refuses"
            assert result.is_new == (transaction_hash not in before)

    def make_room(self, checked: CheckedTransaction, *, local: bool) -> bool:
        senders = self.senders()
        remote = [known for known, entry in self.model.items() if not entry[2]]
        above = [known for known in remote if senders[self.model[known][0].sender] > LIMITS.guaranteed_per_sender]
        candidates = above or remote
        if not candidates:
            return False
        lowest = min(price_of(self.model[known][0]) for known in candidates)
        guaranteed = senders[checked.sender] < LIMITS.guaranteed_per_sender
        if not local and not (above and guaranteed) and (price_of(checked) <= lowest or not (above or guaranteed)):
            return False
        # Of the equally cheap ones the pool takes the youngest, which the model reads off after the fact.
        self.victims = [known for known in candidates if price_of(self.model[known][0]) == lowest]
        del self.model[self.victims[-1] if len(self.victims) == 1 else self.youngest(self.victims)]
        return True

    def youngest(self, victims: list[bytes]) -> bytes:
        return max(victims, key=lambda known: self.pool.shelves.at(known).order)  # type: ignore[arg-type]

    @rule(place=places, source=st.sampled_from(PEERS))
    def a_peer_sends(self, place, source):
        self.added(CHECKED[place], source, local=False)

    @rule(place=places)
    def the_operator_submits(self, place):
        self.added(CHECKED[place], None, local=True)

    @rule(seconds=st.sampled_from([0.0, 1.0, 60.0, 150.0]))
    def time_passes(self, seconds):
        self.now += seconds
        gone = {pooled.hash for pooled in self.pool.expire(self.now)}
        due = {
            known
            for known, (_, _, local, at) in self.model.items()
            if at + (LIMITS.local_lifetime_s if local else LIMITS.lifetime_s) <= self.now
        }
        assert gone == due
        for known in due:
            del self.model[known]

    @rule(wanted=st.lists(places, max_size=4))
    def a_block_comes(self, wanted):
        block: list[CheckedTransaction] = []
        for place in wanted:
            checked = CHECKED[place]
            if not self.used(checked):
                block.append(checked)
                self.floor[checked.sender] = checked.transaction.nonce
        self.chain.append(block)
        self.pool.on_chain_moved([], block, self.now)
        for known, (one, _, _, _) in list(self.model.items()):
            if self.used(one):
                del self.model[known]

    @rule()
    def the_newest_block_is_undone(self):
        if not self.chain:
            return
        undone = list(reversed(self.chain.pop()))
        for one in undone:
            self.floor[one.sender] = one.transaction.nonce - 1
        before = set(self.model)
        effect = self.pool.on_chain_moved(undone, [], self.now)
        back = {added.pooled.hash for added in effect.returned}
        assert back | {one.transaction.hash for one, _ in effect.not_returned} == {
            one.transaction.hash for one in undone
        }
        # What had to make room for what came back is for the other rules to judge; the model starts from here.
        assert before - self.hashes() <= {
            gone.hash for added in effect.returned for gone in (added.replaced, added.evicted) if gone is not None
        }
        self.model = {
            pooled.hash: (
                CheckedTransaction(pooled.transaction, pooled.sender),
                pooled.source,
                pooled.is_local,
                pooled.entered_at,
            )
            for pooled in self.pool.shelves
        }

    @invariant()
    def pool_is_what_the_model_says(self):
        assert self.hashes() == set(self.model)
        assert {pooled.hash for pooled in self.pool.shelves.locals()} == {
            known for known, entry in self.model.items() if entry[2]
        }

    @invariant()
    def limits_hold(self):
        assert len(self.pool) <= LIMITS.transactions
        for peer in PEERS:
            assert self.pool.pooled_from(peer) <= LIMITS.per_peer
            assert self.pool.pooled_from(peer) == sum(pooled.source == peer for pooled in self.pool.shelves)
        assert self.pool.shelves.size_bytes == sum(pooled.transaction.size_bytes for pooled in self.pool.shelves)


PoolMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_pool_keeps_what_the_specification_says = PoolMachine.TestCase
