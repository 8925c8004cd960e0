"""`trisync doctor` against a real gateway, scripted peers, and ports that are no peer's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.peer_gateway.core.chain_names import ExpectedChain
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.devp2p import Capability, Hello
from services.peer_gateway.core.diagnosis import Diagnosis, Dial
from services.peer_gateway.core.interview import DoctorLimits
from services.peer_gateway.core.verdicts import Outcome, Report, Step, StepName, Verdict
from services.peer_gateway.edges.doctor_dial import Doctor
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import DisconnectReason
from tests.support.gateway_under_test import CHAIN, NETWORK_ID, gateway_under_test, in_loop
from tests.support.processes import outcome_of, run_trisync, trisync
from tests.support.scripted_peer import ScriptedListener
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

EXPECTED = ExpectedChain("genesis.json", NETWORK_ID, CHAIN.headers[0].hash)
QUICK = DoctorLimits(dial_s=5, handshake_s=0.4, answer_s=0.4)


async def diagnosed(node: Enode, **options: Any) -> Report:
    """What the doctor reports; the steps it told on the way are those of the report."""
    settings: dict[str, Any] = {"local": local_node("doctor"), "limits": DoctorLimits(), **options}
    told: list[Step] = []
    dial = Dial(node=node, **settings)
    report = await Doctor(Diagnosis(dial, os.urandom), node, dial.limits.dial_s, told.append).run()
    assert tuple(told) == report.steps
    return report


def loopback(port: int, name: str = "bob", host: str = "127.0.0.1") -> Enode:
    return Enode(local_node(name).node_id, host, port, port)


@contextlib.asynccontextmanager
async def port_that_says(words: bytes, *, hangs_up: bool) -> AsyncIterator[int]:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        if hangs_up:
            writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("expected", [None, EXPECTED])
@in_loop
async def test_gateway_works_and_is_left_politely(expected):
    async with gateway_under_test() as gateway:
        report = await diagnosed(gateway.enode, expected=expected)
        assert report.verdict is Verdict.WORKS, report
        assert report.facts.head_number == len(CHAIN.headers) - 1
        assert report.facts.ping_s is not None
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.by_us, left.reason) == (False, DisconnectReason.CLIENT_QUITTING + 1)


@in_loop
async def test_gateways_refusals_are_told():
    async with gateway_under_test(maxpeers=1) as gateway:
        alice = await gateway.joined("alice")
        report = await diagnosed(gateway.enode)
        assert report.verdict is Verdict.TOO_MANY_PEERS
        report = await diagnosed(gateway.enode, local=alice.local)
        assert report.verdict is Verdict.ALREADY_CONNECTED
        assert alice.is_connected


@in_loop
async def test_gateway_of_another_chain_is_told():
    async with gateway_under_test() as gateway:
        other = replace(EXPECTED, genesis_hash=CHAIN.headers[1].hash)
        assert (await diagnosed(gateway.enode, expected=other)).verdict is Verdict.OTHER_GENESIS
        other = replace(EXPECTED, network_id=7)
        assert (await diagnosed(gateway.enode, expected=other)).verdict is Verdict.WRONG_NETWORK


@in_loop
async def test_own_key_of_the_gateway_and_a_wrong_key_in_the_url_are_told():
    own = local_node("gateway")
    async with gateway_under_test(nodekey=own.key.to_hex()) as gateway:
        assert (await diagnosed(gateway.enode, local=own)).verdict is Verdict.CONNECTED_TO_SELF
        wrong = replace(gateway.enode, node_id=local_node("mallory").node_id)
        assert (await diagnosed(wrong)).verdict is Verdict.RLPX_HANGUP


@in_loop
async def test_ports_that_are_no_peers_are_told():
    async with port_that_says(b"SSH-2.0-OpenSSH_9.6\r\n", hangs_up=False) as port:
        report = await diagnosed(loopback(port), limits=QUICK)
        assert (report.verdict, "SSH" in report.explanation) == (Verdict.NOT_RLPX, True)
    async with port_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n", hangs_up=True) as port:
        assert (await diagnosed(loopback(port))).verdict is Verdict.NOT_RLPX
    async with port_that_says(b"", hangs_up=False) as port:
        assert (await diagnosed(loopback(port), limits=QUICK)).verdict is Verdict.RLPX_SILENT
    async with port_that_says(os.urandom(4000), hangs_up=False) as port:
        assert (await diagnosed(loopback(port), limits=QUICK)).verdict is Verdict.NOT_RLPX
    assert (await diagnosed(loopback(port))).verdict is Verdict.CONNECTION_REFUSED


@in_loop
async def test_tcp_connection_that_is_not_taken_is_told():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            report = await diagnosed(loopback(full.getsockname()[1]), limits=DoctorLimits(dial_s=0.3))
        finally:
            for one in waiting:
                one.close()
    # Where the system takes more than it was told to, the port is silent instead.
    assert report.verdict in (Verdict.TCP_TIMEOUT, Verdict.RLPX_SILENT)


@in_loop
async def test_host_name_is_looked_up():
    async with gateway_under_test() as gateway:
        report = await diagnosed(replace(gateway.enode, host="localhost"))
        assert report.verdict is Verdict.WORKS
        assert report.steps[0].name is StepName.RESOLVE
    report = await diagnosed(loopback(1, host="no-such-host.invalid"), limits=QUICK)
    assert report.verdict is Verdict.HOST_NOT_RESOLVED


@in_loop
async def test_peers_that_stop_half_way_are_told():
    own = CHAIN.status(NETWORK_ID)._replace(protocol_version=63)
    async with ScriptedListener(local_node("bob")) as silent:
        report = await diagnosed(silent.enode, limits=QUICK, expected=EXPECTED)
        assert report.verdict is Verdict.NO_STATUS
        assert await (await silent.next_peer()).refusal() is DisconnectReason.READ_TIMEOUT
    async with ScriptedListener(local_node("bob")) as idle:
        running = asyncio.create_task(diagnosed(idle.enode, limits=QUICK, expected=EXPECTED))
        peer = await idle.next_peer()
        await peer.ready()
        peer.send(own)
        assert (await running).verdict is Verdict.HEAD_NOT_SERVED
    async with ScriptedListener(local_node("bob")) as leaving:
        running = asyncio.create_task(diagnosed(leaving.enode, expected=EXPECTED))
        peer = await leaving.next_peer()
        await peer.ready()
        peer.hang_up()
        assert (await running).verdict is Verdict.HUNG_UP
        running = asyncio.create_task(diagnosed(leaving.enode, expected=EXPECTED))
        peer = await leaving.next_peer()
        await peer.ready()
        peer.disconnect(DisconnectReason.USELESS_PEER)
        report = await running
        assert (report.verdict, report.facts.disconnect_reason) == (Verdict.DISCONNECTED, "useless_peer")


class NewerClient(LocalNode):
    """Offers what came after eth/63 only."""

    def hello(self) -> Hello:
        return replace(LocalNode.hello(self), capabilities=(Capability("eth", 66), Capability("snap", 1)))


@in_loop
async def test_newer_client_is_told():
    bob = local_node("bob")
    async with ScriptedListener(NewerClient(key=bob.key, client_name="Geth/v1.13", listen_port=1)) as newer:
        report = await diagnosed(newer.enode)
        assert report.verdict is Verdict.NO_COMMON_ETH
        assert "a client from after 2021" in report.explanation
        assert report.facts.client_name == "Geth/v1.13"


@in_loop
async def test_broken_frames_are_told():
    async with ScriptedListener(local_node("mallory")) as listener:
        running = asyncio.create_task(diagnosed(listener.enode))
        peer = await listener.next_peer()
        await peer.ready()
        peer.send_bytes(os.urandom(64))
        assert (await running).verdict is Verdict.BROKE_PROTOCOL


@in_loop
async def test_command_tells_steps_and_ends_with_0_or_1_and_the_reason():
    async with gateway_under_test() as gateway:
        works = await run_trisync("doctor", gateway.enode)
        assert (works.exit_code, works.err) == (0, [])
        assert [line.split()[1] for line in works.out[2:-1]] == [
            "tcp",
            "rlpx",
            "hello",
            "capabilities",
            "status",
            "ping",
            "head",
        ]
        assert works.out[1].startswith("we are ")
        assert works.out[-1].startswith("it works: trisync/")
        fails = await run_trisync("doctor", gateway.enode, "--network", "mainnet", "--json")
    assert (fails.exit_code, fails.err, len(fails.out)) == (1, [], 1)
    told = fails.last_json
    assert (told["works"], told["verdict"], told["facts"]["network_id"]) == (False, "other-genesis", NETWORK_ID)
    assert told["steps"][-1]["outcome"] == Outcome.FAILED
    assert "mainnet" in told["explanation"]


@in_loop
async def test_command_that_is_interrupted_ends_at_once_with_the_step():
    async with (
        port_that_says(b"", hangs_up=False) as port,
        trisync("doctor", loopback(port), "--timeout", 60) as doctor,
    ):
        assert doctor.stdout is not None
        while b" tcp " not in await doctor.stdout.readline():
            pass
        doctor.send_signal(signal.SIGINT)
        ended = await outcome_of(doctor)
    assert (ended.exit_code, ended.err) == (1, [])
    assert ended.out[-1] == "it does not work (interrupted): interrupted in the step rlpx"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["enode://zz@127.0.0.1:1"], "128 hex digits"),
        ([loopback(0)], "TCP port 0"),
        ([loopback(1), "--network", "moonnet"], "unknown network 'moonnet'"),
        ([loopback(1), "--networkid", 5], "without --network or --genesis"),
        ([loopback(1), "--timeout", 0], "--timeout 0.0 is not above 0"),
        ([loopback(1), "--nodekey", "12"], "64 are needed"),
    ],
)
@in_loop
async def test_bad_usage_is_one_line_and_exit_code_2(arguments, words):
    ended = await run_trisync("doctor", *arguments)
    assert (ended.exit_code, ended.out, len(ended.err)) == (2, [], 1)
    assert ended.err[0].startswith("trisync: ")
    assert words in ended.err[0]
