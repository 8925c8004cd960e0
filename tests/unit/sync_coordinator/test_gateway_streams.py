"""The Control service without gRPC: streams are generators, in one short event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from blocksync.v1 import common_pb2, gateway_link_pb2

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.disconnect_log import EndedConnection
from services.sync_coordinator.edges.gateway_events import GatewayEvents
from services.sync_coordinator.edges.gateway_link import REPLIES_IN_PARTS, GatewayLinkServicer, ReplyParts
from services.sync_coordinator.edges.gateway_links import GatewayLink, GatewayLinks
from tests.support.peers import ALICE, BOB

GATEWAY_NODE = PeerId(b"g" * 64)


class AttachedGateways:
    """Notes in order which stream comes and goes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.ended: list[EndedConnection] = []
        self._streams: list[GatewayLink] = []

    def gateway_attached(self, link: GatewayLink, hello: object, peers: object) -> None:
        self._streams.append(link)
        self.seen.append(("attached", self._streams.index(link)))
        link.send(gateway_link_pb2.ControlResponse())

    def connection_ended(self, ended: EndedConnection) -> None:
        self.ended.append(ended)

    def gateway_detached(self, link: GatewayLink) -> None:
        self.seen.append(("detached", self._streams.index(link)))


async def one_gateway() -> AsyncIterator[gateway_link_pb2.ControlRequest]:
    """A gateway that says hello and then nothing."""
    hello = gateway_link_pb2.GatewayHello(gateway_id="north", node_id=GATEWAY_NODE)
    hello.peers.add(node_id=ALICE, eth_version=63)
    yield gateway_link_pb2.ControlRequest(hello=hello)
    await asyncio.Event().wait()


def test_former_stream_of_a_gateway_is_detached_before_the_new_one_is_attached():
    events, links = AttachedGateways(), GatewayLinks()

    async def main() -> None:
        servicer = GatewayLinkServicer(links, cast("GatewayEvents", events))
        streams: list[Any] = [servicer.Control(one_gateway(), cast("Any", None)) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        assert await anext(streams[0], None) is None
        assert len(list(links)) == 1
        await streams[1].aclose()

    asyncio.run(main())
    assert events.seen == [("attached", 0), ("detached", 0), ("attached", 1), ("detached", 1)]
    assert not list(links)


def test_end_that_is_told_on_two_streams_is_taken_once_and_acknowledged_each_time():
    events = AttachedGateways()

    async def gateway(*numbers: int) -> AsyncIterator[gateway_link_pb2.ControlRequest]:
        yield gateway_link_pb2.ControlRequest(hello=gateway_link_pb2.GatewayHello(gateway_id="north"))
        for number in numbers:
            disconnect = common_pb2.Disconnect(
                stage=common_pb2.CONNECTION_STAGE_JOINED,
                offence=common_pb2.OFFENCE_LEFT if number < 9 else common_pb2.Offence.ValueType(99),
                connected_seconds=number,
            )
            told = gateway_link_pb2.PeerDisconnected(disconnect=disconnect, number=number)
            yield gateway_link_pb2.ControlRequest(peer_disconnected=told)
        await asyncio.Event().wait()

    async def read_by(servicer: GatewayLinkServicer, *numbers: int) -> list[int]:
        stream: Any = servicer.Control(gateway(*numbers), cast("Any", None))
        await anext(stream)
        read = [(await anext(stream)).disconnect_read.number for _ in numbers]
        await stream.aclose()
        return read

    async def main() -> None:
        servicer = GatewayLinkServicer(GatewayLinks(), cast("GatewayEvents", events))
        assert await read_by(servicer, 4, 5) == [4, 5]
        # The last one is of an offence that this version does not know: passed over, and not asked for again.
        assert await read_by(servicer, 5, 6, 99) == [5, 6, 99]

    asyncio.run(main())
    assert [ended.connected_s for ended in events.ended] == [4, 5, 6]


def test_reply_in_parts_is_whole_with_its_last_part_whatever_other_peers_say_between():
    parts = ReplyParts()
    assert parts.add(ALICE, 7, [1, 2], is_last=False) is None
    assert parts.add(BOB, 8, [9], is_last=True) == [9]
    assert parts.add(ALICE, 7, [3], is_last=True) == [1, 2, 3]
    assert not len(parts)


def test_replies_given_up_halfway_by_peers_that_left_are_forgotten_in_time():
    parts = ReplyParts()
    for number in range(REPLIES_IN_PARTS + 10):
        parts.add(PeerId(number.to_bytes(64)), number, [1], is_last=False)
    assert len(parts) == REPLIES_IN_PARTS
    assert parts.add(PeerId((REPLIES_IN_PARTS + 9).to_bytes(64)), REPLIES_IN_PARTS + 9, [2], is_last=True) == [1, 2]


def test_reply_given_up_halfway_makes_room_for_the_peers_next():
    parts = ReplyParts()
    parts.add(ALICE, 7, [1, 2], is_last=False)
    assert parts.add(ALICE, 8, [3], is_last=True) == [3]
    assert not len(parts)
