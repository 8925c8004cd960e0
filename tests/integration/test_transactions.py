"""The broadcaster's pool as it runs: real gRPC on loopback, gateways and a coordinator that follow a script."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import rlp
from blocksync.v1 import (
    broadcast_pb2,
    common_pb2,
    coordinator_pb2,
    coordinator_pb2_grpc,
    transactions_pb2,
    transactions_pb2_grpc,
)

from services.broadcaster.app import run
from services.broadcaster.config import BroadcasterConfig
from services.broadcaster.core import transaction_relay
from services.broadcaster.core.transaction_relay import MESSAGE_BYTES
from services.broadcaster.edges import pool_desk, transaction_intake
from services.broadcaster.edges.local_journal import JOURNAL_NAME
from services.shared.ethwire.hashing import keccak256
from services.shared.rpc.channel import open_channel
from services.shared.runtime.faults import StartRefused
from tests.integration.test_broadcaster import (
    ALICE,
    BOB,
    HASH,
    MALLORY,
    RunningBroadcaster,
    ScriptedGateway,
    announce_request,
    attached,
    broadcaster,
    chain_head,
    in_one_loop,
    until,
)
from tests.support.transactions import CHAIN_ID, Draft

pytestmark = pytest.mark.integration

GAS_LIMIT = 8_000_000
NOBODY = "127.0.0.1:1"


class PoolCoordinator(coordinator_pb2_grpc.ChainWatchServiceServicer):
    """A chain at block 10 that accepts transactions, unless told otherwise; moves as the test says."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.genesis_hash = HASH
        self.moves: asyncio.Queue[coordinator_pb2.ChainMoved | None] = asyncio.Queue()
        self.requests: list[coordinator_pb2.WatchChainRequest] = []

    async def WatchChain(self, request, context):
        self.requests.append(request)
        forks = coordinator_pb2.TransactionForks(
            chain_id=CHAIN_ID.to_bytes(2), homestead_block=0, eip155_block=0, istanbul_block=0, berlin_block=0
        )
        yield coordinator_pb2.WatchChainResponse(
            snapshot=coordinator_pb2.ChainSnapshot(
                network_id=1,
                genesis_hash=self.genesis_hash,
                head=chain_head(10),
                accepts_transactions=self.accepts,
                gas_limit=GAS_LIMIT,
                forks=forks,
            )
        )
        while (moved := await self.moves.get()) is not None:
            yield coordinator_pb2.WatchChainResponse(moved=moved)

    def move(self, **blocks: object) -> None:
        moved = coordinator_pb2.ChainMoved(
            head=chain_head(11),
            accepts_transactions=True,
            gas_limit=GAS_LIMIT,
            **blocks,  # type: ignore[arg-type]
        )
        self.moves.put_nowait(moved)


def block(number: int, *drafts: Draft) -> coordinator_pb2.BlockContents:
    body = rlp.encode([[rlp.decode(draft.raw()) if not draft.kind else draft.raw() for draft in drafts], []])
    return coordinator_pb2.BlockContents(number=number, block_hash=bytes([number]) * 32, body_rlp=body)


@contextlib.asynccontextmanager
async def following(
    coordinator: PoolCoordinator, **changes: object
) -> AsyncIterator[tuple[RunningBroadcaster, transactions_pb2_grpc.TransactionServiceAsyncStub]]:
    """A broadcaster that has heard of the chain."""
    server = grpc.aio.server()
    coordinator_pb2_grpc.add_ChainWatchServiceServicer_to_server(coordinator, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with broadcaster(coordinator=f"127.0.0.1:{port}", **changes) as running:
            await running.until_metric("broadcaster_following_chain", 1)
            yield running, transactions_pb2_grpc.TransactionServiceStub(running.channel)
    finally:
        await server.stop(0)


async def send(gateway: ScriptedGateway, peer: bytes, *wires: bytes) -> None:
    await gateway.say(transactions=broadcast_pb2.PeerTransactions(node_id=peer, transactions_rlp=wires))


async def next_transactions(gateway: ScriptedGateway) -> tuple[set[bytes], list[bytes]]:
    response = await gateway.next_response()
    assert response.WhichOneof("content") == "send_transactions", response
    return set(response.send_transactions.node_ids), list(response.send_transactions.transactions_rlp)


async def next_offence(gateway: ScriptedGateway) -> tuple[bytes, int, str]:
    offence = (await gateway.next_response()).peer_offence
    return offence.node_id, offence.offence, offence.explanation


def hash_of(draft: Draft) -> bytes:
    return keccak256(draft.raw())


def test_transaction_reaches_every_peer_that_lacks_it_once_for_each_gateway():
    async def scenario() -> None:
        async with (
            following(PoolCoordinator()) as (running, _),
            attached(running, "east", ALICE, BOB) as east,
            attached(running, "west", MALLORY) as west,
        ):
            wires = [Draft(account=one).wire() for one in range(3)]
            await send(east, ALICE, *wires)
            assert await next_transactions(east) == ({BOB}, wires)
            assert await next_transactions(west) == ({MALLORY}, wires)
            await send(west, MALLORY, *wires)
            await running.until_metric("broadcaster_transactions_known_total", 3)
            assert await running.metric("broadcaster_transaction_sends_total") == 6
            assert await running.metric("broadcaster_pool_transactions") == 3

    in_one_loop(scenario)


def test_nothing_is_accepted_before_the_first_sync_is_done():
    async def scenario() -> None:
        coordinator = PoolCoordinator(accepts=False)
        async with following(coordinator) as (running, calls), attached(running, "east", ALICE, BOB) as east:
            await send(east, ALICE, Draft().wire())
            refused = 'broadcaster_transactions_refused_total{rule="not-accepted"}'
            await running.until_metric(refused, 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=Draft().raw()))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            coordinator.move()
            await running.until_metric("broadcaster_head_number", 11)
            await send(east, ALICE, Draft().wire())
            assert await next_transactions(east) == ({BOB}, [Draft().wire()])

    in_one_loop(scenario)


@pytest.mark.parametrize(
    ("wire", "rule", "offence"),
    [
        (b"\xc3\x01\x02\x03", "undecodable", common_pb2.OFFENCE_ETH_MESSAGE_UNDECODABLE),
        (b"\x82\x03\xc0", "undecodable", common_pb2.OFFENCE_ETH_MESSAGE_UNDECODABLE),
        (
            rlp.encode([0, 10**9, 21_000, b"\x22" * 20, 1, b"", 27, 0, 0]),
            "signature",
            common_pb2.OFFENCE_INVALID_TRANSACTION,
        ),
        (Draft(chain_id=1).wire(), "chain-id", common_pb2.OFFENCE_INVALID_TRANSACTION),
        (Draft(data=b"\x01" * 32_768, gas_limit=GAS_LIMIT).wire(), "oversized", common_pb2.OFFENCE_INVALID_TRANSACTION),
        (Draft(gas_limit=100).wire(), "intrinsic-gas", common_pb2.OFFENCE_INVALID_TRANSACTION),
        (Draft(gas_limit=GAS_LIMIT + 1).wire(), "gas-limit", None),
        (Draft(price=0).wire(), "price-floor", None),
        (Draft(kind=2).wire(), "type", None),
    ],
)
def test_bad_transaction_is_refused_counted_and_its_gateway_told(wire, rule, offence):
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, _), attached(running, "east", ALICE, BOB) as east:
            for count in (1, 2):
                await send(east, ALICE, wire)
                if offence is not None:
                    peer, told, explanation = await next_offence(east)
                    assert (peer, told) == (ALICE, offence)
                    assert explanation
                await running.until_metric(f'broadcaster_transactions_refused_total{{rule="{rule}"}}', count)
            await send(east, ALICE, Draft(account=7).wire())
            assert await next_transactions(east) == ({BOB}, [Draft(account=7).wire()])

    in_one_loop(scenario)


def test_everyone_who_sent_what_is_no_transaction_is_named_also_when_it_came_at_once():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, _), attached(running, "east", ALICE, BOB) as east:
            for peer in (ALICE, BOB, ALICE):
                await send(east, peer, b"\xc3\x01\x02\x03")
            named = {(await next_offence(east))[0] for _ in range(2)}
            while len(named) < 2:
                named.add((await next_offence(east))[0])
            assert named == {ALICE, BOB}

    in_one_loop(scenario)


def test_one_peer_s_flood_is_cut_and_others_are_heard():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, _), attached(running, "east", ALICE, MALLORY) as east:
            flood = [Draft(account=one % 500, nonce=one // 500).wire() for one in range(600)]
            await send(east, MALLORY, *flood)
            rated = 'broadcaster_transactions_refused_total{rule="peer-rate"}'
            seen: set[bytes] = set()
            told = False
            while len(seen) < 200 or not told:
                response = await east.next_response()
                seen |= set(response.send_transactions.transactions_rlp)
                told = told or response.peer_offence.offence == common_pb2.OFFENCE_TRANSACTIONS_BEYOND_LIMIT
            assert 390 <= await running.metric(rated) <= 400
            await send(east, ALICE, Draft(account=900).wire())
            wanted = Draft(account=900).wire()
            while True:
                response = await east.next_response()
                if wanted in response.send_transactions.transactions_rlp:
                    assert list(response.send_transactions.node_ids) == [MALLORY]
                    return

    in_one_loop(scenario)


def test_newcomer_is_sent_what_is_pending_in_packs_and_nothing_it_knows():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, calls), attached(running, "east") as east:
            drafts = [Draft(account=one, data=b"\x01" * 30_000, gas_limit=600_000) for one in range(8)]
            for draft in drafts:
                await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=draft.raw()))
            await east.join(ALICE)
            received: list[bytes] = []
            while len(received) < 8:
                peers, wires = await next_transactions(east)
                assert peers == {ALICE}
                assert sum(map(len, wires[:-1])) < MESSAGE_BYTES
                received += wires
            assert sorted(received) == sorted(draft.wire() for draft in drafts)
            await running.until_metric("broadcaster_transaction_syncing_peers", 0)

    in_one_loop(scenario)


def test_nothing_slips_through_before_a_gateway_has_told_what_its_peers_know():
    known, lacked, later = Draft(account=1), Draft(account=2), Draft(account=3)

    async def scenario() -> None:
        async with (
            following(PoolCoordinator()) as (running, calls),
            attached(running, "east", ALICE, BOB, will_tell=True) as east,
            attached(running, "west", MALLORY) as west,
        ):
            for draft in (known, lacked):
                answer = await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=draft.raw()))
                assert answer.sent_to_peers == 1
                assert await next_transactions(west) == ({MALLORY}, [draft.wire()])
            part = broadcast_pb2.KnownTransactions(node_ids=[ALICE, b"", BOB], hashes=hash_of(known), knowers=b"\x05")
            await east.say(known_transactions=part)
            await send(west, MALLORY, later.wire())
            await running.until_metric("broadcaster_pool_transactions", 3)
            # Blocks wait for nothing, and so this is the first that comes.
            await running.calls.AnnounceBlock(announce_request())
            assert (await east.next_response()).WhichOneof("content") == "send_announces"
            assert await running.metric("broadcaster_transaction_syncing_peers") == 2
            await east.say(known_transactions=broadcast_pb2.KnownTransactions(complete=True))
            told = dict[bytes, list[bytes]]()
            for _ in range(2):
                peers, wires = await next_transactions(east)
                told |= dict.fromkeys(peers, wires)
            assert told == {peer: [lacked.wire(), later.wire()] for peer in (ALICE, BOB)}
            await running.until_metric("broadcaster_transaction_syncing_peers", 0)

    in_one_loop(scenario)


def test_gateway_that_never_tells_what_its_peers_know_keeps_nothing_from_them(monkeypatch):
    monkeypatch.setattr(transaction_relay, "TELLING_S", 0.1)
    monkeypatch.setattr(pool_desk, "SWEEP_PERIOD_S", 0.05)

    async def scenario() -> None:
        async with (
            following(PoolCoordinator()) as (running, calls),
            attached(running, "east", ALICE, will_tell=True) as east,
        ):
            await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=Draft().raw()))
            assert await next_transactions(east) == ({ALICE}, [Draft().wire()])
            assert await running.metric("broadcaster_transaction_syncing_peers") == 0

    in_one_loop(scenario)


def test_what_memory_holds_of_small_transactions_counts_as_waiting(monkeypatch):
    monkeypatch.setattr(transaction_intake, "WAITING_BYTES_PER_PEER", 10_000)

    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, _), attached(running, "east", ALICE) as east:
            await send(east, ALICE, *[b"\xc1\x80"] * 200)
            await running.until_metric('broadcaster_transactions_refused_total{rule="queue-full"}', 200)
            assert await running.metric("broadcaster_transactions_waiting_bytes") == 0

    in_one_loop(scenario)


def test_included_transaction_leaves_and_comes_back_when_its_block_is_undone():
    async def scenario() -> None:
        coordinator = PoolCoordinator()
        async with following(coordinator) as (running, calls), attached(running, "east", ALICE, BOB) as east:
            await send(east, ALICE, Draft().wire(), Draft(account=1).wire())
            await next_transactions(east)
            coordinator.move(applied=[block(11, Draft(), Draft(account=5, kind=1, gas_limit=30_000))])
            await running.until_metric("broadcaster_pool_transactions", 1)
            coordinator.move(undone=[block(11, Draft())], applied=[block(12, Draft(account=1))])
            await running.until_metric('broadcaster_transactions_pooled_total{origin="undone"}', 1)
            content = await calls.PoolContent(transactions_pb2.PoolContentRequest())
            assert [entry.transaction_hash for entry in content.transactions] == [hash_of(Draft())]
            assert await running.metric('broadcaster_transactions_left_total{cause="included"}') == 2
            # Both know it: a reorg sends nothing again.
            assert await running.metric("broadcaster_transaction_sends_total") == 2

    in_one_loop(scenario)


def test_local_transaction_is_sent_to_all_and_survives_a_restart(tmp_path: Path):
    draft, other = Draft(account=3), Draft(account=4)

    async def submitted() -> None:
        async with (
            following(PoolCoordinator(), datadir=tmp_path) as (running, calls),
            attached(running, "east", ALICE, BOB) as east,
        ):
            answer = await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=draft.raw()))
            assert answer.transaction_hash == hash_of(draft)
            assert (answer.sent_to_peers, answer.journalled, answer.already_pooled) == (2, True, False)
            assert await next_transactions(east) == ({ALICE, BOB}, [draft.wire()])
            again = await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=draft.raw()))
            assert (again.already_pooled, again.sent_to_peers) == (True, 0)
            await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=other.raw()))

    async def restored() -> None:
        coordinator = PoolCoordinator(accepts=False)
        async with following(coordinator, datadir=tmp_path) as (running, _):
            assert await running.metric("broadcaster_pool_transactions") == 0
            coordinator.move()
            await running.until_metric("broadcaster_pool_local_transactions", 2)
            coordinator.move(applied=[block(11, other)])
            await running.until_metric("broadcaster_pool_local_transactions", 1)

    async def restored_without_what_was_included() -> None:
        async with following(PoolCoordinator(), datadir=tmp_path) as (running, calls):
            await running.until_metric("broadcaster_pool_local_transactions", 1)
            content = await calls.PoolContent(transactions_pb2.PoolContentRequest(include_raw=True))
            assert [(entry.raw, entry.local) for entry in content.transactions] == [(draft.raw(), True)]

    in_one_loop(submitted)
    with (tmp_path / JOURNAL_NAME).open("a") as journal:
        journal.write("f86")
    in_one_loop(restored)
    in_one_loop(restored_without_what_was_included)


def test_refusal_of_a_submitted_transaction_names_value_rule_and_remedy():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (_, calls):
            wanted = {
                Draft(chain_id=5).raw(): "signed for chain id 5, this network's is 1337; sign it for this network",
                Draft(gas_limit=1).raw(): "give a gas limit of 21000 or more",
                b"": "this is no transaction",
                b"\x01" * 40_000: "32768 may be; send less data",
            }
            for raw, text in wanted.items():
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=raw))
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert text in str(caught.value.details())

    in_one_loop(scenario)


def test_fate_of_a_transaction_is_told_as_it_changes():
    draft = Draft(account=2)

    async def scenario() -> None:
        coordinator = PoolCoordinator()
        async with following(coordinator) as (running, calls), attached(running, "east", ALICE, BOB):
            watch = calls.WatchTransaction(transactions_pb2.WatchTransactionRequest(transaction_hash=hash_of(draft)))

            async def until_fate(fate: int) -> transactions_pb2.WatchTransactionResponse:
                while (seen := await anext(fates)).fate != fate:
                    pass
                return seen

            fates = aiter(watch)

            await until_fate(transactions_pb2.TRANSACTION_FATE_UNKNOWN)
            await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=draft.raw()))
            pooled = await until_fate(transactions_pb2.TRANSACTION_FATE_POOLED)
            assert pooled.local
            assert pooled.sent_to_peers in (0, 2)
            coordinator.move(applied=[block(11, draft)])
            included = await until_fate(transactions_pb2.TRANSACTION_FATE_INCLUDED)
            assert (included.block_number, included.block_hash) == (11, b"\x0b" * 32)
            assert included.sent_to_peers == 2
            coordinator.move(undone=[block(11, draft)])
            await until_fate(transactions_pb2.TRANSACTION_FATE_POOLED)
            dearer = Draft(account=2, price=2 * 10**9)
            answer = await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=dearer.raw()))
            assert answer.replaced == hash_of(draft)
            dropped = await until_fate(transactions_pb2.TRANSACTION_FATE_DROPPED)
            assert dropped.drop_cause == transactions_pb2.DROP_CAUSE_REPLACED
            assert hash_of(dearer).hex() in dropped.explanation

    in_one_loop(scenario)


def test_refused_transaction_is_told_to_who_watches_it():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (running, calls), attached(running, "east", ALICE) as east:
            bad = Draft(chain_id=1)
            watch = calls.WatchTransaction(transactions_pb2.WatchTransactionRequest(transaction_hash=hash_of(bad)))
            fates = aiter(watch)
            await anext(fates)
            await send(east, ALICE, bad.wire())
            seen = await anext(fates)
            assert seen.fate == transactions_pb2.TRANSACTION_FATE_DROPPED
            assert seen.drop_cause == transactions_pb2.DROP_CAUSE_REFUSED
            assert "chain id 1" in seen.explanation

    in_one_loop(scenario)


def test_pages_of_the_pool_hold_everything_once_and_bad_requests_are_refused():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (_, calls):
            for one in range(7):
                await calls.SubmitTransaction(
                    transactions_pb2.SubmitTransactionRequest(raw=Draft(account=one % 3, nonce=one).raw())
                )
            seen: list[bytes] = []
            token = ""
            while True:
                page = await calls.PoolContent(transactions_pb2.PoolContentRequest(limit=2, page_token=token))
                seen += [entry.transaction_hash for entry in page.transactions]
                token = page.next_page_token
                if not token:
                    break
            assert sorted(seen) == sorted(hash_of(Draft(account=one % 3, nonce=one)) for one in range(7))
            status = (await calls.PoolStatus(transactions_pb2.PoolStatusRequest())).pools[0]
            assert (status.transactions, status.local_transactions, status.senders) == (7, 7, 3)
            for bad in (
                transactions_pb2.PoolContentRequest(limit=1001),
                transactions_pb2.PoolContentRequest(page_token="nonsense"),
                transactions_pb2.PoolContentRequest(sender=b"\x01"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await calls.PoolContent(bad)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    in_one_loop(scenario)


def test_gateway_whose_queue_is_full_misses_transactions_and_is_not_cut_off():
    async def scenario() -> None:
        changes: dict[str, object] = {"gateway_queue_bytes": 64 * 1024}
        async with following(PoolCoordinator(), **changes) as (running, calls), attached(running, "east", ALICE):
            raws: Iterable[bytes] = (
                Draft(account=one, data=b"\x01" * 30_000, gas_limit=600_000).raw() for one in range(3)
            )
            for raw in raws:
                await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=raw))
            assert await running.metric("broadcaster_transaction_sends_dropped_total") == 3
            assert await running.metric("broadcaster_gateways") == 1

    in_one_loop(scenario)


@pytest.mark.parametrize(
    ("bad_block", "taken"),
    [
        (coordinator_pb2.BlockContents(body_rlp=b"\xc2\xc0\xc0"), 10),
        # Not asked for again: it would be as unreadable the next time.
        (coordinator_pb2.BlockContents(number=11, block_hash=HASH, body_rlp=b"no body"), 11),
    ],
    ids=["no hash", "no body"],
)
def test_coordinator_is_told_what_was_taken_last_when_it_is_followed_again(bad_block, taken):
    async def scenario() -> None:
        coordinator = PoolCoordinator()
        async with following(coordinator) as (running, _):
            coordinator.moves.put_nowait(coordinator_pb2.ChainMoved(head=chain_head(11), applied=[bad_block]))
            await until(lambda: asyncio.sleep(0.01, len(coordinator.requests)), 2)
            assert coordinator.requests[0].newest_hash == b""
            assert coordinator.requests[1].newest_number == taken
            assert await running.metric("broadcaster_chain_stream_failures_total") == 1

    in_one_loop(scenario)


def test_local_transactions_survive_a_broadcaster_that_is_killed(tmp_path: Path):
    drafts = [Draft(account=one) for one in range(5)]

    async def scenario() -> None:
        coordinator = PoolCoordinator()
        server = grpc.aio.server()
        coordinator_pb2_grpc.add_ChainWatchServiceServicer_to_server(coordinator, server)
        follow = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        address = f"unix:{tmp_path / 'b.sock'}"
        flags = ["--listen", address, "--coordinator", follow, "--datadir", str(tmp_path / "data")]
        child = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.broadcaster", *flags)
        try:
            async with open_channel(address) as channel:
                calls = transactions_pb2_grpc.TransactionServiceStub(channel)

                async def is_open() -> bool:
                    answer = await calls.PoolStatus(transactions_pb2.PoolStatusRequest(), wait_for_ready=True)
                    return answer.pools[0].accepts_transactions

                await until(is_open, True)
                for draft in drafts:
                    request = transactions_pb2.SubmitTransactionRequest(raw=draft.raw())
                    assert (await calls.SubmitTransaction(request)).journalled
        finally:
            child.kill()
            await child.wait()
        async with broadcaster(coordinator=follow, datadir=tmp_path / "data") as running:
            await running.until_metric("broadcaster_pool_local_transactions", len(drafts))
        await server.stop(0)

    in_one_loop(scenario)


def test_pool_is_emptied_when_the_coordinator_is_on_another_chain():
    async def scenario() -> None:
        coordinator = PoolCoordinator()
        async with following(coordinator) as (running, calls):
            await calls.SubmitTransaction(transactions_pb2.SubmitTransactionRequest(raw=Draft().raw()))
            coordinator.moves.put_nowait(None)
            await running.until_metric("broadcaster_chain_stream_failures_total", 1)
            assert await running.metric("broadcaster_pool_transactions") == 1
            await running.until_metric("broadcaster_following_chain", 1)
            assert await running.metric("broadcaster_pool_transactions") == 1
            coordinator.genesis_hash = b"\x02" * 32
            coordinator.moves.put_nowait(None)
            await running.until_metric("broadcaster_pool_transactions", 0)

    in_one_loop(scenario)


def test_start_is_refused_in_one_line_when_the_data_directory_cannot_be_used(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("")
    config = BroadcasterConfig(coordinator=NOBODY, listen=("127.0.0.1:0",), datadir=path)

    async def scenario() -> None:
        with pytest.raises(StartRefused, match=r"--datadir .*file cannot be used: File exists"):
            await run(config, stop=asyncio.Event(), ready=lambda _: None)

    in_one_loop(scenario)
