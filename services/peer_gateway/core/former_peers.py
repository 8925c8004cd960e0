"""The peers a gateway had before it restarted: what is remembered of them, and when they are dialled again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from services.peer_gateway.core.address_rules import THROTTLE_S, is_lan
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.types import PeerId

FORMER_PEERS: Final = 1024
"""Peers remembered at most: more than one gateway is built to hold. Of more, the first remembered is dropped."""

FAILED_DIALS: Final = 5
"""Dials that fail before a former peer is given up: about three minutes, longer than most restarts take."""

FINAL_REASONS: Final = frozenset(
    {
        DisconnectReason.BREACH_OF_PROTOCOL,
        DisconnectReason.USELESS_PEER,
        DisconnectReason.INCOMPATIBLE_P2P_VERSION,
        DisconnectReason.INVALID_IDENTITY,
        DisconnectReason.UNEXPECTED_IDENTITY,
        DisconnectReason.CONNECTED_TO_SELF,
        DisconnectReason.SUBPROTOCOL_ERROR,
    }
)
"""What the next attempt will not change: another network or version, another node, or one that was found wanting."""

LOST_REASONS: Final = frozenset(
    {None, DisconnectReason.NETWORK_ERROR, DisconnectReason.READ_TIMEOUT, DisconnectReason.CLIENT_QUITTING}
)
"""Ends of a connection that neither side chose, or that come with a restart: the peer is worth another dial."""


class FormerPeer(NamedTuple):
    """A node that was connected, and the wall-clock time of the last dial to it, failed ones too; 0.0 for none.

    Who connected by itself before takes no place that we give to nodes of our own choice: whoever fills a gateway
    with connections would otherwise have all of those too after its restart.
    """

    node: Enode
    last_dialled_unix_s: float
    was_inbound: bool = False


class FormerPeers(Protocol):
    """What outlives the gateway. Calls are quick: they are made on the event loop."""

    def recall(self) -> list[FormerPeer]: ...

    def remember(self, peer: FormerPeer) -> None: ...

    def forget(self, node_id: PeerId) -> None: ...


class ForgetfulPeers:
    """Of a gateway without a data directory: nothing outlives it."""

    def __init__(self, former: Iterable[FormerPeer] = ()) -> None:
        self._peers = {peer.node.node_id: peer for peer in former}

    def recall(self) -> list[FormerPeer]:
        return list(self._peers.values())

    def remember(self, peer: FormerPeer) -> None:
        """Newest last; of too many the one that was remembered first is dropped."""
        self._peers.pop(peer.node.node_id, None)
        self._peers[peer.node.node_id] = peer
        if len(self._peers) > FORMER_PEERS:
            del self._peers[next(iter(self._peers))]

    def forget(self, node_id: PeerId) -> None:
        self._peers.pop(node_id, None)


def redial_wait_s(peer: FormerPeer, unix_s: float, spread: float) -> float:
    """How long to wait before a former peer is dialled, so that a throttle of `THROTTLE_S` over there has passed.

    Neighbours on loopback and local networks are exempt from it, here and in geth. A clock that was set back
    makes nobody wait longer than one throttle.
    """
    whole = THROTTLE_S * (1 + spread)
    if is_lan(peer.node.host):
        return 0.0
    return min(whole, max(0.0, peer.last_dialled_unix_s + whole - unix_s))
