"""One connection's life above the transport: admission, Status, membership, goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from blocksync.v1 import common_pb2
from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.eth_session import EthSession, StatusTimedOut
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.known_blocks import KnownBlocks
from services.peer_gateway.core.request_book import Request
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.core.shown_text import shown
from services.peer_gateway.core.snappy_codec import Payload
from services.peer_gateway.edges.farewell import SHOWN_NAME_CHARACTERS, Farewell
from services.peer_gateway.edges.inbox import Inbox
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.peer_messages import PeerMessages
from services.peer_gateway.edges.peer_place import PeerPlace
from services.peer_gateway.edges.questions import Questions
from services.peer_gateway.edges.refusals import Refused
from services.peer_gateway.edges.replies import Replies
from services.peer_gateway.edges.roster import broadcast_peer
from services.peer_gateway.edges.tcp import PeerSocket
from services.shared.chainspec.enode import MAX_PORT, Enode
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.messages import Status
from services.shared.ethwire.offences import CONSEQUENCES, LogLevel, Offence
from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import big_to_bytes
from services.shared.runtime.logs import get_log


class _Ended(Exception):
    """The connection is over; whatever was being done for it stops."""


class PeerSession:
    """Owns one connection from its socket's opening to its close; a `JoinedPeer` in between.

    `run` is its one task; what happens on the socket reaches it through futures and the inbox.
    """

    def __init__(
        self,
        parts: Parts,
        connect: Callable[[float], Connection],
        opened: Callable[[PeerSession], None],
        *,
        inbound: bool,
    ) -> None:
        self._parts, self._opened = parts, opened
        self.inbound = inbound
        self._place = PeerPlace(parts, inbound=inbound)
        self.socket = PeerSocket(connect, self, parts.metrics, parts.sharing)
        clock = asyncio.get_running_loop().time
        self._inbox = Inbox(self.socket.pause_reading, self.socket.resume_reading, clock)
        self._stage = Stage.TRANSPORT
        self._node_id: PeerId | None = None
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._end = Disconnected(None, False, "the connection was lost", Offence.CONNECTION_LOST)
        self._farewell = Farewell(asyncio.get_running_loop().time(), inbound=inbound)
        self._details = common_pb2.PeerDetails()
        self._joined_at = 0.0
        self._listen_port = 0
        self._messages: PeerMessages | None = None
        self._replies: Replies | None = None
        self.settled = asyncio.Event()
        """Set once the handshakes are over, well or not."""
        self._log = get_log("peer")

    def on_open(self) -> None:
        self._farewell = Farewell(asyncio.get_running_loop().time(), inbound=self.inbound)
        self._meet(self.socket.remote_id)
        self._opened(self)

    def on_event(self, event: Event) -> None:
        match event:
            case HandshakeDone(node_id):
                self._node_id = node_id
                self._meet(node_id)
                self._log = get_log("peer", node=node_id.hex()[:16])
            case Ready():
                self._ready.set_result(event)
            case EthMessage():
                self._inbox.put(event)
            case Disconnected():
                self._end = event
                self._ended.set()
                self.settled.set()
            case _:
                assert_never(event)

    async def run(self) -> None:
        """From the opened socket to the closed one."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._fail_at_end(), name="peer-end")
                tasks.create_task(self._live(tasks), name="peer-messages")
        except* _Ended:
            pass
        except* Refused as group:
            refusal = group.exceptions[0]
            assert isinstance(refusal, Refused)
            self.socket.disconnect(refusal.offence, str(refusal))
        except* PeerFault as group:
            fault = group.exceptions[0]
            assert isinstance(fault, PeerFault)
            self.socket.fail(fault)
        except* Exception as group:  # noqa: BLE001 - a bug that one peer's message finds must not end all peers
            self._log.error("a bug ends this connection", exc_info=group)
            self.socket.disconnect(Offence.OUR_DEFECT, "a bug of ours")
        finally:
            self._leave()
        await self.socket.closed

    # What the rest of the gateway sees of a joined peer.

    @property
    def node_id(self) -> PeerId:
        assert self._node_id is not None
        return self._node_id

    @property
    def known_blocks(self) -> KnownBlocks:
        assert self._messages is not None
        return self._messages.known_blocks

    def details(self) -> common_pb2.PeerDetails:
        self._details.connected_seconds = asyncio.get_running_loop().time() - self._joined_at
        return self._details

    def listens_at(self) -> Enode | None:
        host, _ = self.socket.remote_address
        if self._node_id is None or not 0 < self._listen_port <= MAX_PORT:
            return None
        return Enode(self._node_id, host, self._listen_port, self._listen_port)

    @property
    def refused_by(self) -> Disconnected | None:
        """How it ended where it never joined. Asked once it has settled."""
        return None if self._stage is Stage.JOINED else self._end

    @property
    def was_dialled_by_greater_id(self) -> bool:
        own_id = self._parts.standing.own_id
        assert self._node_id is not None
        return (self._node_id > own_id) is self.inbound

    def ask(self, request: Request, request_id: int, session: int) -> str | None:
        assert self._replies is not None
        return self._replies.ask(request, request_id, session)

    def send(self, urgency: Urgency, message: Outgoing) -> bool:
        return self.socket.send(urgency, message)

    def disconnect(self, offence: Offence, detail: str) -> None:
        self.socket.disconnect(offence, detail)

    def _meet(self, node_id: PeerId | None) -> None:
        """Note for the farewell who this is, as far as it is known, and what the operator wants of it."""
        host, port = self.socket.remote_address
        met, standing = self._farewell.disconnect, self._parts.standing
        met.remote_address = f"{host}:{port}"
        if node_id is not None:
            met.node_id = node_id
            met.static, met.trusted = node_id in standing.static, standing.is_trusted(node_id)

    async def _fail_at_end(self) -> None:
        await self._ended.wait()
        raise _Ended

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        parts = self._parts
        ready = await self._ready
        node_id = PeerId(ready.hello.node_id)
        self._listen_port = ready.hello.listen_port
        self._stage = Stage.ADMISSION
        self._farewell.disconnect.eth_version = ready.eth_version
        await self._place.claim(node_id, self)
        await self._place.get_admitted(self.socket.remote_address)
        self._stage = Stage.STATUS
        eth, status = await self._shake_hands(ready)
        while not self._place.is_current:
            await self._place.get_admitted(self.socket.remote_address)
        self._details = self._describe(node_id, ready, status)
        self._replies = Replies(node_id, eth.version, self.socket, parts)
        questions = Questions(parts.chain, self.socket, parts.config.question_patience)
        unread_s = self._inbox.paused_s
        messages = self._messages = PeerMessages(parts, eth, self._details, self._replies, questions, unread_s)
        self._join(node_id)
        tasks.create_task(questions.run(), name="peer-questions")
        while True:
            message = await self._inbox.get()
            await messages.on_arrival(message.code, message.payload)

    async def _shake_hands(self, ready: Ready) -> tuple[EthSession, Status]:
        ours = self._parts.standing.status
        assert ours is not None, "nobody is dialled or listened to before the first status"
        timeout_s = self._parts.config.handshake_timeout
        eth = EthSession(ready.eth_version, ours, asyncio.get_running_loop().time(), timeout_s)
        code, payload = eth.opening
        self.socket.send(Urgency.OWN, Outgoing(code, Payload(payload)))
        try:
            async with asyncio.timeout(timeout_s):
                opening = await self._inbox.get()
        except TimeoutError:
            raise StatusTimedOut(timeout_s) from None
        status = eth.receive(opening.code, opening.payload)
        assert isinstance(status, Status), "the first message an eth session lets through is Status"
        return eth, status

    def _describe(self, node_id: PeerId, ready: Ready, status: Status) -> common_pb2.PeerDetails:
        host, port = self.socket.remote_address
        return common_pb2.PeerDetails(
            node_id=node_id,
            client_name=shown(ready.hello.client_name, SHOWN_NAME_CHARACTERS),
            remote_address=f"{host}:{port}",
            inbound=self.inbound,
            was_inbound=self._place.was_inbound,
            static=node_id in self._parts.standing.static,
            # Only what this gateway alone knows: the coordinator's own list may change while the peer is here.
            trusted=node_id in self._parts.standing.trusted_here,
            eth_version=ready.eth_version,
            p2p_version=ready.hello.version,
            head_hash=status.head_hash,
            total_difficulty=big_to_bytes(status.total_difficulty),
        )

    def _join(self, node_id: PeerId) -> None:
        parts, details = self._parts, self._details
        self._stage, self._joined_at = Stage.JOINED, asyncio.get_running_loop().time()
        parts.roster.add(node_id, self)
        parts.metrics.peers_like(details).inc()
        parts.coordinator.tell(wire.ControlRequest(peer_joined=wire.PeerJoined(peer=details)))
        parts.broadcaster.peer_joined(broadcast_peer(self))
        self._log.info(
            "peer joined",
            client=details.client_name,
            address=details.remote_address,
            eth=details.eth_version,
            inbound=self.inbound,
            peers=len(parts.roster),
        )
        self._count_handshake("joined")
        self.settled.set()

    def _leave(self) -> None:
        """Undo what was done for this peer, and say once why it is gone."""
        parts, end = self._parts, self._end
        side = "us" if end.by_us else "them"
        parts.metrics.disconnects.labels("none" if end.reason is None else end.reason.name.lower(), side).inc()
        parts.metrics.offence(end.offence)
        self._place.give_back(end)
        self._report()
        if self._stage is Stage.JOINED and self._node_id is not None:
            parts.roster.remove(self._node_id, end)
            parts.metrics.peers_like(self._details).dec()
            parts.broadcaster.peer_left(self._node_id)
            self._log.info("peer left", by=side, why=end.detail, peers=len(parts.roster))
        else:
            # A stranger may come a thousand times a second; one that showed its key, or that we dialled, may not.
            is_quiet = self._is_stranger or CONSEQUENCES[end.offence].level is LogLevel.DEBUG
            say = self._log.debug if is_quiet else self._log.info
            address = self._farewell.disconnect.remote_address
            say("peer not taken", address=address, stage=self._stage.name.lower(), by=side, why=end.detail)
            self._count_handshake("refused" if end.by_us else "lost")
        self.settled.set()

    @property
    def _is_stranger(self) -> bool:
        """Whether nobody knows who it was: a name that came without its key may be any honest node's."""
        return self.inbound and not self.socket.is_proven

    def _report(self) -> None:
        """Tell the coordinator of the end, unless it was a stranger's."""
        now = asyncio.get_running_loop().time()
        self._farewell.has_shown_its_key = self.socket.is_proven
        report = self._farewell.finish(self._end, self._stage, self.socket.client_name, now)
        if report.ban_seconds > 0:
            self._parts.roster.ban(PeerId(report.node_id), report.ban_seconds)
        if report.node_id and not self._is_stranger:
            self._parts.coordinator.tell_disconnect(wire.PeerDisconnected(disconnect=report))

    def _count_handshake(self, outcome: str) -> None:
        self._parts.metrics.handshakes.labels(self._stage.name.lower(), outcome).inc()
