"""Which gateway keeps the connection to which static node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import PeerId


def owner_of(node_id: PeerId, gateway_ids: Iterable[str]) -> str | None:
    """The gateway that dials this node: highest random weight (Thaler and Ravishankar, 1996).

    When a gateway comes or goes, only the nodes that it wins or had change their owner.
    """
    return max(gateway_ids, key=lambda gateway_id: keccak256(gateway_id.encode() + node_id), default=None)


def plan_dials(
    nodes: Iterable[Enode], gateway_ids: Iterable[str], connected: Mapping[PeerId, str]
) -> Mapping[str, list[Enode]]:
    """For each live gateway the static nodes it keeps a connection to.

    A node that is connected stays with the gateway that `connected` names for it: any other one would dial it
    again and again only to hear that it is connected already.
    """
    plan: dict[str, list[Enode]] = {gateway_id: [] for gateway_id in gateway_ids}
    for node in nodes:
        holder = connected.get(node.node_id)
        owner = holder if holder in plan else owner_of(node.node_id, plan)
        if owner is not None:
            plan[owner].append(node)
    return plan
