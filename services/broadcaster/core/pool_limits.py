"""How much the pool holds, and what a replacement must pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.broadcaster.core.peer_allowance import POOLED_PER_PEER
from services.broadcaster.core.pool_shelves import Pooled
from services.broadcaster.core.transaction_check import CheckedTransaction, Refusal, Refused

POOL_TRANSACTIONS: Final = 4096
"""All pending transactions (geth `GlobalSlots`); at 32 KiB each, 128 MiB in the worst case."""

GUARANTEED_PER_SENDER: Final = 16
"""So many of each sender are not put out for somebody else's above that number (geth `AccountSlots`)."""

REMOTE_PER_SENDER: Final = 64
"""Of a sender that no local transaction is from (geth `AccountQueue`)."""

REPLACEMENT_PERCENT: Final = 110
"""What a replacement pays at least, of what the old one does, so that replacing costs something (geth `PriceBump`)."""

LIFETIME_S: Final = 3 * 3600.0
"""After that a remote one that nobody includes goes (geth `Lifetime`)."""

LOCAL_LIFETIME_S: Final = 24 * 3600.0
"""Without state a local transaction that was included unseen looks pending for ever; after a day it is let go."""

INCLUDED_LOCALS_KEPT: Final = 1024
"""Local transactions that were included and would come back as local ones if their block is undone."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Tests use small ones."""

    transactions: int = POOL_TRANSACTIONS
    guaranteed_per_sender: int = GUARANTEED_PER_SENDER
    remote_per_sender: int = REMOTE_PER_SENDER
    per_peer: int = POOLED_PER_PEER
    lifetime_s: float = LIFETIME_S
    local_lifetime_s: float = LOCAL_LIFETIME_S


def check_replacement(checked: CheckedTransaction, old: Pooled) -> None:
    """Both what it pays at most and what the miner gets must grow by a tenth. Raises Refused."""
    new, before = checked.transaction, old.transaction
    caps = ((new.fee_cap, before.fee_cap), (new.tip_cap, before.tip_cap))
    if any(cap <= old_cap or cap * 100 < old_cap * REPLACEMENT_PERCENT for cap, old_cap in caps):
        least = max(before.fee_cap + 1, -(-before.fee_cap * REPLACEMENT_PERCENT // 100))
        raise Refused(
            Refusal.REPLACEMENT,
            f"its sender's transaction with nonce {new.nonce} is pending and pays {before.fee_cap} wei per gas, this "
            f"one {new.fee_cap}; a replacement pays a tenth more: offer {least} or more",
        )
