"""Two connections joined without a network, and a scripted peer that speaks single frames."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import ConnectionConfig, LocalNode
from services.peer_gateway.core.devp2p import BaseCode, Hello, decode_disconnect, encode_hello
from services.peer_gateway.core.ecies import generate_key
from services.peer_gateway.core.events import Disconnected, Event
from services.peer_gateway.core.framing import Frame, FrameReader, FrameWriter
from services.peer_gateway.core.phases import Phase
from services.peer_gateway.core.rlpx_handshake import Initiator
from services.peer_gateway.core.snappy_codec import inflate
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.offences import CONSEQUENCES, Offence

Cut = Callable[[bytes], Iterable[bytes]]
"""How a stretch of bytes is cut into what the other side receives at once."""


def local_node(name: str, **changes: object) -> LocalNode:
    """A node whose key follows from its name."""
    key = generate_key(random.Random(name).randbytes)
    return LocalNode(**{"key": key, "client_name": name, "listen_port": 30303, **changes})  # type: ignore[arg-type]


ALICE, BOB, MALLORY = local_node("alice"), local_node("bob"), local_node("mallory")


def offence_with(reason: DisconnectReason) -> Offence:
    """An offence that makes a connection say this reason."""
    return next(offence for offence, consequence in CONSEQUENCES.items() if consequence.reason is reason)


def whole(sent: bytes) -> Iterable[bytes]:
    return [sent]


def byte_by_byte(sent: bytes) -> Iterable[bytes]:
    return [sent[index : index + 1] for index in range(len(sent))]


def random_cut(seed: int, most: int = 400) -> Cut:
    """Pieces of 1 to `most` bytes."""
    rng = random.Random(seed)

    def cut(sent: bytes) -> Iterable[bytes]:
        start = 0
        while start < len(sent):
            size = rng.randint(1, most)
            yield sent[start : start + size]
            start += size

    return cut


class Pair:
    """Alice has dialled bob; `settle` carries bytes until none are left."""

    def __init__(
        self,
        alice: LocalNode = ALICE,
        bob: LocalNode = BOB,
        *,
        cut: Cut = whole,
        config: ConnectionConfig | None = None,
    ) -> None:
        self.now = 0.0
        self._cut = cut
        random_bytes = random.Random(7).randbytes
        self.alice = Connection(alice, bob.node_id, random_bytes, self.now, config)
        self.bob = Connection(bob, None, random_bytes, self.now, config)
        self.alice_events: list[Event] = []
        self.bob_events: list[Event] = []

    def settle(self) -> Pair:
        while self._carry(self.alice, self.bob, self.bob_events) | self._carry(self.bob, self.alice, self.alice_events):
            pass
        return self

    def _carry(self, sender: Connection, receiver: Connection, events: list[Event]) -> bool:
        sent = sender.data_to_send()
        for piece in self._cut(sent):
            events += receiver.receive_data(piece, self.now)
            while receiver.has_unread:
                events += receiver.receive_data(b"", self.now)
        return bool(sent)


class ScriptedPeer:
    """Mallory dials `target` and may then send any frame, right or wrong."""

    def __init__(self, target: Connection, *, me: LocalNode = MALLORY, them: LocalNode = BOB) -> None:
        self.target, self.me = target, me
        self.events: list[Event] = []
        handshake = Initiator(me.key, them.node_id, random.Random(9).randbytes)
        self.events += target.receive_data(handshake.auth_packet, 0.0)
        result = handshake.receive(target.data_to_send())
        assert result is not None
        self.writer = FrameWriter(result.secrets)
        self._reader = FrameReader(result.secrets)
        self._reader.feed(result.surplus)
        self.received: list[Frame] = []

    def send(self, code: int, payload: bytes, now: float = 0.0) -> list[Event]:
        """Send one frame as it is."""
        return self.send_bytes(self.writer.encode(code, payload), now)

    def send_bytes(self, sent: bytes, now: float = 0.0) -> list[Event]:
        events = self.target.receive_data(sent, now)
        while self.target.has_unread:
            events += self.target.receive_data(b"", now)
        self.events += events
        return events

    def say_hello(self, hello: Hello | None = None) -> list[Event]:
        return self.send(BaseCode.HELLO, encode_hello(hello or self.me.hello()))

    def frames(self) -> list[Frame]:
        """The frames the target sent since the last call."""
        self._reader.feed(self.target.data_to_send())
        frames = []
        while (frame := self._reader.next_frame()) is not None:
            frames.append(frame)
        self.received += frames
        return frames

    def disconnect_reason(self) -> DisconnectReason | None:
        """The reason in the last frame, if that is a Disconnect."""
        frames = self.frames() or self.received
        if not frames or frames[-1].code != BaseCode.DISCONNECT:
            return None
        payload = frames[-1].payload
        return DisconnectReason(decode_disconnect(inflate(payload) if self.target.is_compressed else payload))


def answering() -> Connection:
    """Bob, waiting to be dialled."""
    return Connection(BOB, None, random.Random(5).randbytes, 0.0)


def scripted_peer(phase: Phase) -> ScriptedPeer:
    """Mallory at bob's, who has come to HELLO or OPEN."""
    peer = ScriptedPeer(answering())
    if phase is Phase.OPEN:
        peer.say_hello()
    assert peer.target.phase is phase
    return peer


def only_disconnect(events: list[Event]) -> Disconnected:
    """The one Disconnected that `events` must end with."""
    last = events[-1]
    assert isinstance(last, Disconnected)
    assert not any(isinstance(event, Disconnected) for event in events[:-1])
    return last
