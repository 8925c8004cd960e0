"""Connections between our cores and the npm peer over loopback, dialled from either side."""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from services.peer_gateway.core.events import Ready
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import PeerId
from tests.interop.js_peer import Event, JsPeer
from tests.interop.our_peer import OurPeer, local_node
from tests.interop.real_chain import real_chain

HOST: Final = "127.0.0.1"
DIAL_TIMEOUT_S: Final = 20.0

StartJs = Callable[..., JsPeer]


class Dialler(enum.Enum):
    """Who opens the connection, and so starts the encryption handshake."""

    OURS = "we dial"
    JS = "it dials us"


@dataclass(frozen=True)
class Link:
    """The two ends of one connection."""

    ours: OurPeer
    js: JsPeer
    js_node_id: PeerId


@dataclass(frozen=True)
class GreetedLink:
    """A link after both handshakes, with what each end heard of the other."""

    ours: OurPeer
    js: JsPeer
    js_node_id: PeerId
    heard_ready: Ready
    heard_status: Status
    js_heard_hello: Event
    js_heard_status: Event


def our_status(**changes: Any) -> Status:
    """What an honest holder of the real chain says; the npm peer says the same unless told otherwise."""
    chain = real_chain()
    honest = Status(63, 1, chain.total_difficulty, chain.head.hash, chain.headers[0].hash)
    return honest._replace(**changes)


@contextmanager
def linked(js_peer: StartJs, dialler: Dialler, *js_options: str, status: Status | None = None) -> Iterator[Link]:
    """A connected pair, of which nothing is read yet. We send `status` once the link is ready."""
    local, ours = local_node(), status or our_status()
    if dialler is Dialler.OURS:
        with js_peer("listen", *js_options) as js:
            listening = js.expect("listening")
            node_id = PeerId(bytes.fromhex(listening["node_id"]))
            with socket.create_connection((HOST, listening["port"])) as connected:
                yield Link(OurPeer(local, connected, node_id, ours), js, node_id)
        return
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(DIAL_TIMEOUT_S)
        port = server.getsockname()[1]
        with js_peer("dial", "--port", str(port), "--node-id", local.node_id.hex(), *js_options) as js:
            node_id = PeerId(bytes.fromhex(js.expect("dialing")["node_id"]))
            with server.accept()[0] as accepted:
                yield Link(OurPeer(local, accepted, None, ours), js, node_id)


def greet(link: Link) -> GreetedLink:
    """Wait for Hello and Status on both ends."""
    ready, status = link.ours.expect(Ready), link.ours.expect(Status)
    hello, js_heard_status = link.js.expect("hello"), link.js.expect("status")
    return GreetedLink(link.ours, link.js, link.js_node_id, ready, status, hello, js_heard_status)
