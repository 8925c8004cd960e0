"""The three services together, real in everything but the processes, against peers that follow a script."""

from __future__ import annotations

import pytest

from tests.support.scripted_peer import ScriptedListener
from tests.support.small_network import NETWORK_ID, chain_blocks, peer_chain
from tests.support.stack import in_one_loop, running_stack
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

@pytest.mark.parametrize("mode", ["full", "light"])
def test_the_chain_is_synced_when_a_static_peer_has_it(mode: str) -> None:
    async def scenario() -> None:
        chain = peer_chain(chain_blocks(700))
        async with ScriptedListener(local_node("alice"), chain.answer) as alice:
            async with running_stack(static_peers=[str(alice.enode)], syncmode=mode) as stack:
                peer = await alice.next_peer()
                await peer.join(chain.status(NETWORK_ID))
                status = await stack.until_head(chain.headers[-1])
                print(status)
                for line in stack.log.lines: print(line)
    in_one_loop(scenario)
