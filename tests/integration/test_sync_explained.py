"""What operators are told about syncs, over the whole stack."""

from __future__ import annotations

import pytest

from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.messages import EthMessage, GetBlockHeaders, NewBlock
from tests.support.attacks import CHAIN
from tests.support.chain_peers import BodyGate, dial_in
from tests.support.deadlines import until
from tests.support.processes import run_trisync
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.small_network import NETWORK_ID, chain_blocks, next_block
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.wire import local_node
from trisync.node_status import SyncAnswer, SyncPhase
from trisync.sync_explained import SyncExplanation

pytestmark = pytest.mark.integration

HEAD = CHAIN.headers[-1]
LONG_S = 600.0
"""A forced cycle that does not come round during a test."""


async def until_explained(stack: Stack, verdict: str) -> SyncExplanation:
    async def read() -> SyncExplanation | None:
        explained = await stack.client.explain_sync()
        return explained if explained.verdict == verdict else None

    return await until(read, f"the verdict {verdict}")


def command(stack: Stack, name: str) -> tuple[str, ...]:
    return (name, "--coordinator", stack.coordinator.facts["grpc"][0])


def without_headers(message: EthMessage) -> EthMessage | None:
    """Never answers a question for headers."""
    return None if isinstance(message, GetBlockHeaders) else CHAIN.answer(message)


@in_one_loop
async def test_too_few_peers_and_no_peers_are_told() -> None:
    async with running_stack(min_sync_peers=3, force_sync_cycle=LONG_S) as stack:
        nobody = await stack.client.explain_sync()
        assert (nobody.verdict, nobody.explanation) == ("no_peers", "no peer is connected")
        assert (nobody.best, nobody.last, nobody.running, nobody.history) == (None, None, None, ())
        assert (await stack.client.best_peer()).best is None
        alice = await dial_in(stack.enode, "alice", CHAIN)
        explained = await until_explained(stack, "too_few_peers")
        assert "1 peer is connected, 3 are waited for" in explained.explanation
        assert (explained.candidate_count, explained.min_peers) == (1, 3)
        assert LONG_S - 100 < explained.forced_in_s <= LONG_S
        assert explained.force_cycle_s == LONG_S
        assert [(one.cause, one.verdict) for one in explained.history] == [("peer_joined", "too_few_peers")]
        assert explained.best is not None
        assert (explained.best.node_id, explained.best.verdict) == (alice.local.node_id, "heaviest")


@in_one_loop
async def test_best_peer_is_told_with_the_others_and_how_their_heads_are_known() -> None:
    async with running_stack(min_sync_peers=9, force_sync_cycle=LONG_S) as stack:
        status = CHAIN.status(NETWORK_ID)
        names: dict[bytes, str] = {}
        for name, difficulty in (("alice", status.total_difficulty), ("bob", 9), ("carol", 1)):
            peer = await ScriptedPeer.dial(stack.enode, local_node(name))
            await peer.join(status._replace(total_difficulty=difficulty))
            names[peer.local.node_id] = name
        await stack.until_peers(3)
        found = await stack.client.best_peer()
        assert found.best is not None
        assert names[found.best.node_id] == "alice"
        assert found.our_total_difficulty == (await stack.status()).head.total_difficulty
        assert found.candidate_count == 3
        assert found.best in found.candidates
        assert [names[one.node_id] for one in found.candidates] == ["alice", "bob", "carol"]
        assert {one.head_source for one in found.candidates} == {"status"}
        heaviest, *others = [(one.total_difficulty, one.verdict) for one in found.candidates]
        assert heaviest == (status.total_difficulty, "heaviest")
        assert {verdict for _, verdict in others} <= {"lighter", "not_above_ours"}
        assert [one.node_id for one in (await stack.client.best_peer(limit=1)).candidates] == [found.best.node_id]
        listed = await stack.client.peers()
        assert [one.node_id for one in listed if one.is_best] == [found.best.node_id]
        assert {one.head_source for one in listed} == {"status"}


@in_one_loop
async def test_a_running_sync_is_told_with_its_master_and_phase_and_then_as_the_last_one() -> None:
    gate = BodyGate(CHAIN, 100)
    async with (
        ScriptedListener(local_node("alice"), gate.answer) as listener,
        running_stack(static_peers=[str(listener.enode)], force_sync_cycle=LONG_S) as stack,
    ):
        alice = await listener.next_peer()
        await stack.until_status(lambda status: status.phase is SyncPhase.DOWNLOAD, "the download")
        await until(lambda: _is_held(gate), "held bodies")
        busy = await until_explained(stack, "busy")
        node_id = local_node("alice").node_id
        assert busy.running is not None
        assert (busy.running.phase, busy.running.master_node_id) == (SyncPhase.DOWNLOAD, node_id)
        assert (busy.running.cause, busy.running.highest_block) == ("static_peer_joined", HEAD.number)
        assert f"a sync with {node_id.hex()[:16]}…" in busy.explanation
        assert f"downloading at block {busy.running.current_block} of {HEAD.number}" in busy.explanation
        assert busy.last is None
        assert (await stack.client.start_sync())[0] is SyncAnswer.BUSY
        best = (await stack.client.best_peer()).best
        assert best is not None
        assert best.is_master
        gate.limit = None
        gate.release(alice)
        await stack.until_head(HEAD)
        idle = await until_explained(stack, "not_above_ours")
        assert "its total difficulty equals ours" in idle.explanation
        assert idle.running is None
        assert idle.last is not None
        assert idle.last.end is not None
        assert (idle.last.verdict, idle.last.candidate_node_id) == ("start", node_id)
        assert (idle.last.end.fault, idle.last.end.blocks) == (None, HEAD.number)
        verdicts = [one.verdict for one in idle.history]
        assert verdicts[-1] == "start"
        assert "busy" in verdicts


async def _is_held(gate: BodyGate) -> bool:
    return bool(gate.held)


@in_one_loop
async def test_a_failed_sync_and_its_dropped_master_are_told() -> None:
    async with running_stack(force_sync_cycle=LONG_S, request_timeout=1.0) as stack:
        mallory = await ScriptedPeer.dial(stack.enode, local_node("mallory"))
        mallory.answer = without_headers
        await mallory.join(CHAIN.status(NETWORK_ID))
        assert await mallory.refusal() is DisconnectReason.USELESS_PEER
        await stack.until_peers(0)
        explained = await until_explained(stack, "no_peers")
        assert explained.last is not None
        assert explained.last.end is not None
        assert (explained.last.end.fault, explained.last.end.blocks) == ("timeout", 0)
        assert explained.last.end.detail == "no answer in phase height"
        assert explained.last.end.duration_s > 0
        assert explained.last.cause == "peer_joined"
        found = await stack.client.best_peer()
        assert found.best is None
        assert [(one.node_id, one.verdict, one.connected) for one in found.dropped] == [
            (mallory.local.node_id, "banned", False)
        ]
        assert "timeout: no answer in phase height" in found.dropped[0].explanation
        shown = "\n".join((await run_trisync(*command(stack, "best-peer"))).out)
        for part in ("banned", "no peers: no peer is connected", "last sync: failed, timeout (no answer in phase"):
            assert part in shown


@in_one_loop
async def test_a_propagated_block_raises_the_head_that_is_told() -> None:
    async with running_stack(min_sync_peers=9, force_sync_cycle=LONG_S) as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_peers(1)
        block = next_block(chain_blocks(700))
        claimed = CHAIN.status(NETWORK_ID).total_difficulty + 10 * block.header.difficulty
        alice.send(NewBlock(block.header.header_rlp, block.body_rlp, claimed))

        async def is_raised() -> bool:
            best = (await stack.client.best_peer()).best
            return best is not None and best.head_source == "block"

        await until(is_raised, "a raised head")
        best = (await stack.client.best_peer()).best
        assert best is not None
        assert best.head_hash == block.header.parent_hash
        assert best.total_difficulty == claimed - block.header.difficulty


@in_one_loop
async def test_the_commands_show_tables_sentences_and_json() -> None:
    async with running_stack(min_sync_peers=3, force_sync_cycle=LONG_S) as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await until_explained(stack, "too_few_peers")
        shown = "\n".join((await run_trisync(*command(stack, "best-peer"))).out)
        for part in (alice.local.node_id.hex()[:16], "status", "heaviest", "above ours", "too few peers: 1 peer is"):
            assert part in shown
        assert "last sync: none has ended yet" in shown
        explained = (await run_trisync(*command(stack, "sync"), "--explain", "--json")).last_json
        assert "result" not in explained
        assert explained["sync"]["verdict"] == "too_few_peers"
        started = await run_trisync(*command(stack, "sync"))
        assert started.exit_code == 0
        assert started.out[0] == "a sync starts: an operator asked"
        await stack.until_head(HEAD)
        again = (await run_trisync(*command(stack, "sync"), "--json")).last_json
        assert (again["result"], again["sync"]["last"]["cause"]) == ("not_above_ours", "operator")
        assert again["sync"]["last"]["end"]["blocks"] == HEAD.number
        best = (await run_trisync(*command(stack, "best-peer"), "--json", "--limit", "1")).last_json
        assert best["best"]["verdict"] == "not_above_ours"
        assert len(best["candidates"]) == 1
