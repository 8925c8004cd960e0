"""A load generator process: peers that join, answer, ask, shake hands or send garbage ."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.flood import Flood
from bench.line_server import Command, serve_lines
from bench.load_peer import LoadPeer
from bench.load_replies import BODIES, ETH_VERSION, HEADERS, empty_replies, full_replies, status
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import GetBlockBodies, GetBlockHeaders, Status
from services.shared.ethwire.rlp_slices import split_list
from services.shared.ethwire.types import BlockHash

JOINING_AT_ONCE: Final = 20
"""Peers of one generator that shake hands at once: below what a gateway lets in."""

PING_EVERY_S: Final = 1.0

REACH_STEP: Final = HEADERS // 4
"""How far beyond what was answered the next question may begin: slower than any sync."""

FULL_HEADERS_BYTES: Final = HEADERS * 450
"""A reply that is larger has all the headers that were asked for."""


class Generator:
    """All peers of one process."""

    def __init__(self) -> None:
        self._peers: list[LoadPeer] = []
        self._asking: list[asyncio.Task[None]] = []
        self._hashes: list[BlockHash] = []
        self._questions = self._items = self._bytes = self._empty = 0
        self._longest_wait = self._since = 0.0
        self._reach = 1
        """The highest block that may be asked for first; where the chain grows, with what is answered."""

    def commands(self) -> Mapping[str, Command]:
        return {
            "join": self.join,
            "ask": self.ask,
            "hashes": self.hashes,
            "reset": self.reset,
            "stats": self.stats,
            "handshakes": self.handshakes,
            "flood": self.flood,
        }

    async def join(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Connect peers; answers once all have joined."""
        target, turn = parse_enode(asked["enode"]), asyncio.Semaphore(JOINING_AT_ONCE)
        said = _status(asked) if "genesis" in asked else status()
        answers = full_replies() if asked.get("answers") else empty_replies()

        async def join_one(number: int) -> LoadPeer:
            async with turn:
                peer = LoadPeer(f"{asked['name']}-{number}", target, said, answers)
                await peer.connect()
                await peer.joined
                return peer

        started = asyncio.get_running_loop().time()
        self._peers += await asyncio.gather(*map(join_one, range(asked["count"])))
        return {"joined": len(self._peers), "seconds": asyncio.get_running_loop().time() - started}

    async def hashes(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """The blocks to ask bodies of: a file of hashes, one after the other."""
        joined = await asyncio.to_thread(_read, asked["path"])
        self._hashes = [BlockHash(joined[at : at + 32]) for at in range(0, len(joined), 32)]
        return {}

    async def ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have every peer ask from now on: as fast as it is answered, or all together `rate` a second."""
        pause = len(self._peers) / asked["rate"] if asked.get("rate") else 0.0
        self._reach = max(1, asked.get("reach", 1))
        for number, peer in enumerate(self._peers):
            asking = self._ask_on(peer, asked, random.Random(number), pause)
            self._asking.append(asyncio.create_task(asking, name="asking"))
            if asked.get("pings"):
                self._asking.append(asyncio.create_task(_ping_on(peer), name="pinging"))
        return {}

    async def _ask_on(self, peer: LoadPeer, asked: Mapping[str, Any], rng: random.Random, pause: float) -> None:
        loop = asyncio.get_running_loop()
        wants_bodies, due = asked["kind"] == "bodies", loop.time() + rng.uniform(0, pause)
        while True:
            if pause:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = max(due + pause, loop.time() - pause)
            started, first = loop.time(), 1 + rng.randrange(self._reach)
            try:
                payload = await peer.ask(*self._question(wants_bodies, first))
            except ConnectionError:
                return
            wait = loop.time() - started
            self._longest_wait = max(self._longest_wait, wait)
            self._questions += 1
            self._bytes += len(payload)
            self._empty += len(payload) < 2
            if len(payload) > FULL_HEADERS_BYTES:
                self._items += BODIES if wants_bodies else HEADERS
                if asked.get("grows"):
                    self._reach = max(self._reach, first + REACH_STEP)
            else:
                self._items += len(split_list(payload))

    def _question(self, wants_bodies: bool, first: int) -> tuple[int, bytes]:
        if wants_bodies:
            return encode_message(ETH_VERSION, GetBlockBodies(self._hashes[first - 1 : first - 1 + BODIES]))
        return encode_message(ETH_VERSION, GetBlockHeaders(first, HEADERS, 0, False))

    async def reset(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        del asked
        self._reset()
        return {}

    def _reset(self) -> None:
        self._questions = self._items = self._bytes = self._empty = 0
        self._longest_wait = 0.0
        self._since = asyncio.get_running_loop().time()

    async def stats(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Since the last reset."""
        del asked
        return {
            "seconds": asyncio.get_running_loop().time() - self._since,
            "connected": sum(peer.is_connected for peer in self._peers),
            "ends": sorted({peer.ended.result() for peer in self._peers if peer.ended.done()})[:5],
            "questions": self._questions,
            "empty": self._empty,
            "items": self._items,
            "bytes": self._bytes,
            "longest_wait_s": self._longest_wait,
            "longest_pong_s": max((peer.pong_waits.longest for peer in self._peers), default=0.0),
            "pings_unanswered": sum(peer.pings_unanswered for peer in self._peers if peer.is_connected),
        }

    async def handshakes(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Shake hands up to Hello, hang up, again, for a while."""
        target, loop = parse_enode(asked["enode"]), asyncio.get_running_loop()
        started, done, failed = loop.time(), 0, 0

        async def shake_on() -> None:
            nonlocal done, failed
            while loop.time() < started + asked["seconds"]:
                try:
                    await _shake(target)
                    done += 1
                except OSError:
                    failed += 1

        await asyncio.gather(*(shake_on() for _ in range(asked["at_once"])))
        return {"done": done, "failed": failed, "seconds": loop.time() - started}

    async def flood(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return await Flood(parse_enode(asked["enode"]), asked["kinds"], random.Random(1)).run(
            asked["rate"], asked["seconds"]
        )


async def _shake(target: Enode) -> None:
    peer = LoadPeer("handshake", target, status(), {})
    await peer.connect()
    await peer.ready
    peer.hang_up()


async def _ping_on(peer: LoadPeer) -> None:
    while peer.is_connected:
        peer.ping()
        await asyncio.sleep(PING_EVERY_S)


def _status(asked: Mapping[str, Any]) -> Status:
    """A peer at the genesis of another chain than the made one."""
    genesis = BlockHash(bytes.fromhex(asked["genesis"]))
    return Status(ETH_VERSION, asked["network_id"], 1, genesis, genesis)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


async def _start() -> Mapping[str, Command]:
    return Generator().commands()


if __name__ == "__main__":
    serve_lines(_start)
