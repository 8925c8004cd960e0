"""From what ended a connection to a verdict and its words; everything here is said to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from services.peer_gateway.core.chain_names import ExpectedChain, network_in_words, networks_of_genesis
from services.peer_gateway.core.connection_config import ETH
from services.peer_gateway.core.connection_faults import (
    InvalidIdentity,
    NoCommonCapability,
    ReadTimedOut,
    UnexpectedIdentity,
)
from services.peer_gateway.core.devp2p import Capability
from services.peer_gateway.core.eth_session import (
    GenesisMismatch,
    NetworkIdMismatch,
    ProtocolVersionMismatch,
    StatusTimedOut,
)
from services.peer_gateway.core.phases import Phase
from services.peer_gateway.core.shown_text import shown
from services.peer_gateway.core.verdicts import (
    MEANING_OF,
    SHOWN_CHARACTERS,
    VERDICT_OF,
    StepName,
    Unreachable,
    Verdict,
    described_garbage,
    reason_in_words,
)
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.messages import Status

OTHER_KEY: Final = "a node with another key than the URL's node id cannot read our first message"
"""The most frequent reason for silence in the encryption handshake: the URL is old, or of another node."""

NOT_RLPX: Final = "this is no port of an Ethereum node (not RLPx)"

FIRST_NEWER_ETH: Final = 64
"""Versions from here on came after those that we speak."""

FAULT_CHARACTERS: Final = 300
"""As much as is told of a fault."""

SHOWN_CAPABILITIES: Final = 20
"""A Hello may name hundreds."""


class Finding(NamedTuple):
    verdict: Verdict
    explanation: str


class Garbage(NamedTuple):
    """What came before the encryption handshake was done: the start of it, and how much it was."""

    first_bytes: bytes
    size_bytes: int


class Chains(NamedTuple):
    """What a peer's Status says, once it came, and what it should say, where that was told."""

    theirs: Status | None
    expected: ExpectedChain | None


def of_unreachable(problem: Unreachable, where: str, detail: str, timeout_s: float) -> Finding:
    """There is no TCP connection; `where` is the host name or the address, `detail` the system's word for it."""
    texts = {
        Unreachable.NOT_RESOLVED: f"the host name {where} cannot be resolved ({detail}): look for a typing error, "
        "or give the address itself",
        Unreachable.REFUSED: f"{where} refused the connection: the machine is there, but nothing listens on that port; "
        "the node is down, has another port, or a firewall says no",
        Unreachable.NO_ROUTE: f"there is no way to {where} ({detail}): the address is wrong or not reachable from here",
        Unreachable.TIMED_OUT: f"no answer from {where} within {timeout_s:g} s: the machine is off, the address is "
        "wrong, or a firewall or router in between drops the connection",
        Unreachable.OTHER: f"{where} cannot be connected to: {detail}",
    }
    return Finding(problem.value, texts[problem])


def of_fault(fault: PeerFault, stage: StepName, garbage: Garbage, chains: Chains) -> Finding:
    """We ended the connection for what the peer did."""
    if stage is StepName.RLPX:
        return _of_handshake_fault(fault, garbage)
    theirs, expected = chains
    match fault:
        case UnexpectedIdentity() | InvalidIdentity():
            return Finding(
                Verdict.IDENTITY_MISMATCH, f"{fault}: it does not know itself, or someone stands between it and us"
            )
        case ReadTimedOut(phase=Phase.HELLO, timeout_s=timeout_s):
            return Finding(
                Verdict.NO_HELLO,
                f"the encryption handshake was done, but no Hello came within {timeout_s:g} s: "
                "the node is overloaded, or stands still",
            )
        case NoCommonCapability(theirs=offered):
            return Finding(Verdict.NO_COMMON_ETH, no_common_eth(offered))
        case StatusTimedOut(timeout_s=timeout_s):
            return Finding(
                Verdict.NO_STATUS,
                f"no Status came within {timeout_s:g} s of the Hello: the node is overloaded or still starting, "
                "or it waits for ours first, which no client does",
            )
        case GenesisMismatch() | NetworkIdMismatch() if theirs is not None and expected is not None:
            verdict = Verdict.OTHER_GENESIS if isinstance(fault, GenesisMismatch) else Verdict.WRONG_NETWORK
            return Finding(verdict, _other_chain(theirs, expected))
        case ProtocolVersionMismatch():
            return Finding(Verdict.PROTOCOL_VERSION_MISMATCH, f"{fault}: the client is broken")
        case _:
            what = shown(str(fault), FAULT_CHARACTERS)
            return Finding(Verdict.BROKE_PROTOCOL, f"it broke the protocol ({type(fault).__name__}): {what}")


def of_hangup(stage: StepName, garbage: Garbage) -> Finding:
    """The peer closed its socket without a word."""
    if stage is not StepName.RLPX:
        return Finding(
            Verdict.HUNG_UP,
            f"it closed the connection without a reason, where {WAITED_FOR[stage]} should have come",
        )
    if garbage.size_bytes:
        return _not_rlpx(garbage, "and hung up")
    return Finding(
        Verdict.RLPX_HANGUP,
        f"it hung up in the encryption handshake without a word: {OTHER_KEY}, so first of all compare the node id "
        f"with the one the node itself prints; or {NOT_RLPX}, or the node turns newcomers away",
    )


def of_disconnect(reason: DisconnectReason | None, detail: str, stage: StepName) -> Finding:
    """The peer told us why it leaves."""
    when = {StepName.HELLO: "before its Hello", StepName.STATUS: "before its Status"}.get(stage, "after its Status")
    if reason is None:
        return Finding(Verdict.DISCONNECTED, f"it disconnected {when}: {shown(detail, SHOWN_CHARACTERS)}")
    meaning = MEANING_OF[reason]
    verdict = VERDICT_OF.get(reason, Verdict.DISCONNECTED)
    return Finding(verdict, f"it disconnected {when} with the reason {reason_in_words(reason)}: {meaning}")


WAITED_FOR: Final = {
    StepName.HELLO: "its Hello",
    StepName.STATUS: "its Status",
    StepName.PING: "its Pong",
    StepName.HEAD: "the header of its head",
    StepName.DAO: "the header of the DAO fork block",
}


def no_common_eth(theirs: Iterable[Capability]) -> str:
    """Why there is no version of eth in common."""
    versions = sorted({capability.version for capability in theirs if capability.name == ETH})
    speaks = " and ".join(("eth/62", "eth/63"))
    if not versions:
        return f"it speaks no eth at all, only {listed(theirs)}: a node of another protocol, or a light client"
    offered = ", ".join(f"eth/{version}" for version in versions[-SHOWN_CAPABILITIES:])
    if versions[0] > FIRST_NEWER_ETH + 1:
        return f"it speaks only {offered}: a client from after 2021; trisync speaks {speaks}"
    if versions[0] >= FIRST_NEWER_ETH:
        return f"it speaks only {offered}: a client from after 2019; trisync speaks {speaks}"
    return f"it speaks {offered}; trisync speaks {speaks}"


def listed(capabilities: Iterable[Capability]) -> str:
    """Capabilities as they are shown."""
    texts = [shown(str(capability), SHOWN_CHARACTERS) for capability in capabilities]
    more = f" and {len(texts) - SHOWN_CAPABILITIES} more" if len(texts) > SHOWN_CAPABILITIES else ""
    return (", ".join(texts[:SHOWN_CAPABILITIES]) or "nothing") + more


def _of_handshake_fault(fault: PeerFault, garbage: Garbage) -> Finding:
    if not isinstance(fault, ReadTimedOut):
        return _not_rlpx(garbage, f"({re.sub(r'[.]$', '', str(fault))})")
    if garbage.size_bytes:
        return _not_rlpx(garbage, "and nothing more")
    return Finding(
        Verdict.RLPX_SILENT,
        f"it took the TCP connection, but said nothing within {fault.timeout_s:g} s: {NOT_RLPX}; "
        f"or {OTHER_KEY}; or the node is overloaded",
    )


def _not_rlpx(garbage: Garbage, how: str) -> Finding:
    sent = described_garbage(garbage.first_bytes, garbage.size_bytes)
    return Finding(Verdict.NOT_RLPX, f"{NOT_RLPX}: instead of its part of the handshake it sent {sent} {how}")


def _other_chain(theirs: Status, expected: ExpectedChain) -> str:
    known = networks_of_genesis(theirs.genesis_hash)
    hint = (
        f"; `--network {known[0].name}` asks for that chain"
        if known and theirs.genesis_hash != expected.genesis_hash
        else ""
    )
    ours = f"{expected.name} (network id {expected.network_id}, genesis 0x{expected.genesis_hash.hex()[:16]}…)"
    return f"it is on another chain: {network_in_words(theirs)}, and we asked for {ours}{hint}"
