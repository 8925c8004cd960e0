"""What the doctor asks once the handshakes are done, and what the answers mean; and its answers to the peer."""

from __future__ import annotations

from typing import NamedTuple

from services.peer_gateway.core.chain_names import DAO_EXTRA_DATA, DaoFork, side_in_words
from services.peer_gateway.core.findings import Finding
from services.peer_gateway.core.verdicts import Verdict
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NodeData,
    Receipts,
    Status,
)
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash, Header


class WrongAnswer(PeerFault):
    """An answer that cannot be one to what was asked."""

    offence = Offence.REPLY_MISMATCH


class DaoAnswer(NamedTuple):
    """Which side of the DAO fork a peer is on, None where that is open; and a Finding where it is not ours."""

    support: bool | None
    text: str
    finding: Finding | None = None


def header_at(origin: BlockHash | int) -> GetBlockHeaders:
    return GetBlockHeaders(origin, 1, 0, False)


def head_of(reply: BlockHeaders, head_hash: BlockHash) -> Header | None:
    """The head's header; None where the peer does not serve it. Raises PeerFault."""
    if not reply.headers_rlp:
        return None
    header = decode_header(reply.headers_rlp[0])
    if len(reply.headers_rlp) > 1 or header.hash != head_hash:
        raise WrongAnswer(f"asked for its head, it answered with {len(reply.headers_rlp)} headers of other blocks")
    return header


def head_not_served(how: str) -> Finding:
    return Finding(
        Verdict.HEAD_NOT_SERVED,
        f"both handshakes went well, but it does not serve the header of its own head: {how}; nothing can be synced "
        "from it now. It may be overloaded, or still start",
    )


def dao_side(reply: BlockHeaders, fork: DaoFork, status: Status) -> DaoAnswer:
    """What the header of the DAO fork block says (EIP-779). Raises PeerFault."""
    if not reply.headers_rlp:
        return DaoAnswer(None, f"it does not serve block {fork.block}, so its side of the DAO fork is open")
    header = decode_header(reply.headers_rlp[0])
    if len(reply.headers_rlp) > 1 or header.number != fork.block:
        raise WrongAnswer(f"asked for block {fork.block}, it answered with block {header.number}")
    support = header.extra_data == DAO_EXTRA_DATA
    stance = "supports" if support else "refuses"
    text = f"its block {fork.block} {stance} the DAO fork: {side_in_words(status, supports=support)}"
    if fork.support is None or support == fork.support:
        return DaoAnswer(support, text)
    return DaoAnswer(support, text, Finding(Verdict.WRONG_DAO_SIDE, f"{text}, and not the chain that we asked for"))


def empty_answer(question: EthMessage) -> EthMessage | None:
    """The reply of a node that has nothing; None to what is no question."""
    match question:
        case GetBlockHeaders():
            return BlockHeaders([])
        case GetBlockBodies():
            return BlockBodies([])
        case GetNodeData():
            return NodeData([])
        case GetReceipts():
            return Receipts([])
        case _:
            return None
