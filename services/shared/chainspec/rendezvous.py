"""Which of several gateways a node belongs to, so that all of them agree without asking each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import PeerId

Name = TypeVar("Name", bound=str | bytes)
"""What tells gateways apart where the question is asked: their ids, or their node ids."""


def owner_of(node_id: PeerId, gateways: Iterable[Name]) -> Name | None:
    """The gateway that dials this node: highest random weight (Thaler and Ravishankar, 1996).

    When a gateway comes or goes, only the nodes that it wins or had change their owner.
    """
    return max(gateways, key=lambda gateway: _weight(gateway, node_id), default=None)


def ranking(node_id: PeerId, names: Iterable[Name]) -> list[Name]:
    """All of `names`, in the order in which they would own this node if those before them were not there."""
    return sorted(names, key=lambda name: _weight(name, node_id), reverse=True)


def _weight(gateway: str | bytes, node_id: PeerId) -> bytes:
    return keccak256((gateway if isinstance(gateway, bytes) else gateway.encode()) + node_id)
