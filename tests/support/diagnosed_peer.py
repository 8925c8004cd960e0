"""Bob's end of a diagnosis without a network: the real `Connection` core, and every way to answer."""

from __future__ import annotations

import random
from collections.abc import Callable

from services.peer_gateway.core.chain_names import ExpectedChain
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.diagnosis import Diagnosis, Dial
from services.peer_gateway.core.events import EthMessage as Arrived
from services.peer_gateway.core.events import Event, Ready
from services.peer_gateway.core.verdicts import Report, StepName
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.eth_messages import decode_message, encode_message
from services.shared.ethwire.messages import EthMessage, Status
from tests.support.wire import ALICE, BOB, Cut, whole

Answer = Callable[[EthMessage], EthMessage | None]

ADDRESS = "192.0.2.7:30303"


class DiagnosedPeer:
    """Alice diagnoses bob. `settle` carries bytes until none are left; `answer` is what bob says to what."""

    def __init__(
        self,
        answer: Answer = lambda _: None,
        *,
        bob: LocalNode = BOB,
        claimed: LocalNode | None = None,
        expected: ExpectedChain | None = None,
        cut: Cut = whole,
    ) -> None:
        """`claimed` is whose node id the URL has, where it is not bob's."""
        self.now = 100.0
        self._answer, self._cut = answer, cut
        node = Enode((claimed or bob).node_id, "192.0.2.7", 30303, 30303)
        dial = Dial(local=ALICE, node=node, expected=expected)
        self.diagnosis = Diagnosis(dial, random.Random(3).randbytes)
        self.bob = Connection(bob, None, random.Random(4).randbytes, self.now)
        self.version = 0
        self.heard: list[EthMessage] = []
        self.diagnosis.start(self.now)

    @property
    def report(self) -> Report:
        assert self.diagnosis.report is not None, "it is not over"
        return self.diagnosis.report

    @property
    def passed(self) -> list[StepName]:
        return [step.name for step in self.report.steps]

    def connect(self) -> DiagnosedPeer:
        self.diagnosis.connected(ADDRESS, self.now)
        return self.settle()

    def settle(self) -> DiagnosedPeer:
        """Carry bytes both ways. Bob's end is told to alice once nothing else is on its way."""
        while True:
            sent, replied = self.diagnosis.data_to_send(), self.bob.data_to_send()
            if not sent and not replied:
                break
            for piece in self._cut(replied):
                self.diagnosis.receive_data(piece, self.now)
            for piece in self._cut(sent):
                self._hear(self.bob.receive_data(piece, self.now))
        if self.bob.is_closed:
            self.diagnosis.receive_eof(self.now)
        return self

    def wait(self, seconds: float) -> DiagnosedPeer:
        """Time passes on alice's side; bob keeps still."""
        end = self.now + seconds
        while (due := self.diagnosis.next_wakeup()) is not None and due <= end:
            self.now = due
            self.diagnosis.on_wakeup(self.now)
            self.settle()
        self.now = end
        return self

    def say(self, message: EthMessage) -> None:
        self.bob.send_message(*encode_message(self.version, message))

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Ready(_, eth_version):
                    self.version = eth_version
                case Arrived(code, payload):
                    self._on_message(decode_message(self.version, code, payload))

    def _on_message(self, message: EthMessage) -> None:
        self.heard.append(message)
        answer = self._answer(message)
        if answer is not None:
            self.say(answer._replace(protocol_version=self.version) if isinstance(answer, Status) else answer)
