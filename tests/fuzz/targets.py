"""All targets, by name."""

from __future__ import annotations

from functools import cache

from tests.fuzz.contract_targets import contract_targets
from tests.fuzz.discovery_targets import discovery_targets
from tests.fuzz.eth_targets import eth_targets
from tests.fuzz.link_targets import link_targets
from tests.fuzz.seal_targets import seal_targets
from tests.fuzz.state_targets import state_targets
from tests.fuzz.target import Target
from tests.fuzz.transaction_targets import transaction_targets


@cache
def all_targets() -> dict[str, Target]:
    targets = [
        *link_targets(),
        *eth_targets(),
        *contract_targets(),
        *discovery_targets(),
        *seal_targets(),
        *state_targets(),
        *transaction_targets(),
    ]
    return {target.name: target for target in targets}
