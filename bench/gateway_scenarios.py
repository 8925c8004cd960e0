"""What a gateway process does under load, with a scripted coordinator behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.gateway_under_load import gateway_under_load, lag_p99_ms, measured_for
from bench.resource_watch import Usage
from bench.targets import Measured, Target, at_least, below

IDLE_PEERS: Final = 500
BUSY_PEERS: Final = 50
IDLE_S: Final = 33.0
"""Two rounds of pings."""
BUSY_S: Final = 20.0

DECODE_PEERS: Final = 8
DECODE_IN_FLIGHT: Final = 2
WARM_UP_S: Final = 2.0
DECODE_S: Final = 8.0

HANDSHAKES_S: Final = 8.0
HANDSHAKES_AT_ONCE: Final = 16

FLOOD_RATE: Final = 1000
FLOOD_S: Final = 20.0
FLOOD_PEERS: Final = 10
FLOOD_QUESTIONS_PER_S: Final = 50
TIMELY_S: Final = 1.0
"""A ping or a question answered later than this counts as disturbed."""


async def idle() -> list[Measured]:
    """Five hundred peers that do nothing but answer pings, then fifty more that are kept busy."""
    async with gateway_under_load() as load:
        idlers, busy = await load.generator(), await load.generator()
        await idlers.ask("join", enode=load.enode, name="idle", count=IDLE_PEERS)
        _, watch, _ = await measured_for(load, IDLE_S)
        idle_usage = watch.usage()
        await busy.ask("join", enode=load.enode, name="busy", count=BUSY_PEERS, answers=True)
        await load.sink.ask("ask", name="busy", kinds=["headers", "bodies"], in_flight=1)
        counted, watch, lag = await measured_for(load, BUSY_S)
        usage = watch.usage()
        connected = [(await generator.ask("stats"))["connected"] for generator in (idlers, busy)]
    lost = IDLE_PEERS + BUSY_PEERS - sum(connected)
    return [
        Measured("500 idle peers: CPU", 100 * idle_usage.cpu_seconds["gateway"] / IDLE_S, "% of a core", below(20)),
        Measured("500 idle peers: private memory", idle_usage.peak_memory_mb["gateway"], "MB"),
        Measured("500 idle + 50 busy: private memory, peak", usage.peak_memory_mb["gateway"], "MB", below(400)),
        Measured("500 idle + 50 busy: private memory of the root worker", _workers_mb(usage), "MB"),
        Measured("500 idle + 50 busy: event-loop lag p99", lag, "ms", below(50)),
        Measured("500 idle + 50 busy: peers lost", lost, "peers", below(1)),
        Measured("500 idle + 50 busy: bodies meanwhile", counted["body_bytes"] / counted["seconds"] / 1e6, "MB/s"),
        Measured("500 idle + 50 busy: headers meanwhile", counted["headers"] / counted["seconds"], "headers/s"),
    ]


async def decode() -> list[Measured]:
    """Peers that always have an answer ready, asked by a coordinator that always has a question."""
    inline, worker = ("--root-workers", "0"), ("--root-workers", "1")
    return [
        *await _decode("headers", "no root worker", inline, at_least(40_000)),
        *await _decode("bodies", "no root worker", inline, at_least(25)),
        *await _decode("bodies", "one root worker", worker, at_least(40)),
    ]


async def _decode(kind: str, how: str, arguments: Sequence[str], target: Target) -> list[Measured]:
    async with gateway_under_load(arguments) as load:
        generator = await load.generator()
        await generator.ask("join", enode=load.enode, name="busy", count=DECODE_PEERS, answers=True)
        await load.sink.ask("ask", name="busy", kinds=[kind], in_flight=DECODE_IN_FLIGHT)
        await asyncio.sleep(WARM_UP_S)
        counted, watch, lag = await measured_for(load, DECODE_S)
        usage = watch.usage()
    assert not counted["wrong"], f"{counted['wrong']} replies came with wrong digests"
    amount = counted["headers"] if kind == "headers" else counted["body_bytes"] / 1e6
    unit = "headers" if kind == "headers" else "MB"
    name = f"decode {kind}, {how}"
    return [
        Measured(name, amount / counted["seconds"], f"{unit}/s", target),
        Measured(f"{name}: per CPU second of gateway and worker", amount / usage.cpu_seconds["gateway"], unit),
        Measured(f"{name}: event-loop lag p99", lag, "ms"),
        *_shares(name, usage, counted["seconds"]),
    ]


async def handshakes() -> list[Measured]:
    """Strangers that dial, shake hands up to Hello, and leave."""
    async with gateway_under_load() as load:
        generator = await load.generator()
        watch = load.watch()
        done = await generator.ask("handshakes", enode=load.enode, at_once=HANDSHAKES_AT_ONCE, seconds=HANDSHAKES_S)
        usage = watch.usage()
    name = "inbound handshakes"
    return [
        Measured(name, done["done"] / done["seconds"], "/s", at_least(150)),
        Measured(f"{name}: failed", done["failed"], ""),
        Measured(f"{name}: gateway CPU for one", 1e3 * usage.cpu_seconds["gateway"] / max(1, done["done"]), "ms"),
        *_shares(name, usage, done["seconds"]),
    ]


async def flood() -> list[Measured]:
    """Bad connections a thousand times a second, while good peers are asked, ask, and ping.

    Those of the first flood stay open and take all places of strangers; those of the second are each turned away
    for what they sent.
    """
    kinds = ["half-open", "garbage", "looks-right", "cut-off"]
    return [*await _flood("flood, half of it silent", kinds), *await _flood("flood of garbage", kinds[1:3])]


async def _flood(name: str, kinds: Sequence[str]) -> list[Measured]:
    async with gateway_under_load() as load:
        good, bad = await load.generator(), await load.generator()
        await good.ask("join", enode=load.enode, name="good", count=FLOOD_PEERS, answers=True)
        await load.sink.ask("ask", name="good", kinds=["headers"], in_flight=1)
        await good.ask("ask", kind="headers", rate=FLOOD_QUESTIONS_PER_S, pings=True)
        quiet, _, _ = await measured_for(load, WARM_UP_S)
        await good.ask("reset")
        await load.sink.ask("reset")
        before, watch = await load.metrics(), load.watch()
        flooded = await bad.ask("flood", enode=load.enode, kinds=kinds, rate=FLOOD_RATE, seconds=FLOOD_S)
        usage = watch.usage()
        lag = lag_p99_ms(before, await load.metrics())
        counted, answered = await load.sink.ask("stats"), await good.ask("stats")
    opened = flooded["opened"] + flooded["failed"]
    return [
        Measured(f"{name}: bad connections", opened / flooded["seconds"], "/s", at_least(0.95 * FLOOD_RATE)),
        *_undisturbed(name, counted, answered),
        Measured(f"{name}: headers for the coordinator meanwhile", _headers_per_s(counted), "headers/s"),
        Measured(f"{name}: headers for the coordinator before", _headers_per_s(quiet), "headers/s"),
        Measured(f"{name}: event-loop lag p99", lag, "ms"),
        *_shares(name, usage, flooded["seconds"]),
    ]


def _undisturbed(name: str, counted: Mapping[str, Any], answered: Mapping[str, Any]) -> list[Measured]:
    """What the good peers, and the coordinator that asks them, saw of a flood."""
    timely, asked = below(1e3 * TIMELY_S), at_least(0.9 * FLOOD_QUESTIONS_PER_S)
    return [
        Measured(f"{name}: good peers lost", FLOOD_PEERS - answered["connected"], "peers", below(1)),
        Measured(f"{name}: longest wait for a pong", 1e3 * answered["longest_pong_s"], "ms", timely),
        Measured(f"{name}: longest wait for an answer", 1e3 * answered["longest_wait_s"], "ms", timely),
        Measured(f"{name}: longest wait of the coordinator", 1e3 * counted["longest_wait_s"], "ms", timely),
        Measured(f"{name}: questions answered", answered["questions"] / answered["seconds"], "/s", asked),
    ]


def _headers_per_s(counted: Mapping[str, Any]) -> float:
    return float(counted["headers"] / counted["seconds"])


def _shares(name: str, usage: Usage, seconds: float) -> list[Measured]:
    """What shares the processors, in percent of one."""
    return [
        Measured(f"{name}: CPU of the {process.replace('_', ' ')}", 100 * used / seconds, "% of a core")
        for process, used in usage.cpu_seconds.items()
    ]


def _workers_mb(usage: Usage) -> float:
    return usage.peak_memory_mb.get("gateway_workers", 0.0)
