"""Which gateway keeps the connection to which static node, and how many others each may dial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from services.shared.chainspec.enode import Enode
from services.shared.chainspec.rendezvous import owner_of
from services.shared.ethwire.types import PeerId


class StaticPlan:
    """Gives each static node to one gateway.

    A node that is connected stays with the gateway that holds it: any other one would dial it again and again
    only to hear that it is connected already. Of the rest, what an operator added goes to the least loaded
    gateway and stays there while that one lives; all others are shared out by rendezvous hashing. Only gateways
    that would dial a node's address get it, as long as there are any.
    """

    def __init__(self) -> None:
        self._given: dict[PeerId, str] = {}
        """Of nodes that operators added."""

    def share_out(
        self,
        nodes: Mapping[PeerId, Enode],
        is_ordered: Callable[[PeerId], bool],
        peers_of: Mapping[str, int],
        holder_of: Callable[[PeerId], str | None],
        may_dial: Callable[[str, Enode], bool] = lambda *_: True,
    ) -> Mapping[str, list[Enode]]:
        """For each live gateway its static nodes. `peers_of` has the number of peers of every live gateway."""
        plan: dict[str, list[Enode]] = {gateway_id: [] for gateway_id in peers_of}
        load = dict(peers_of)
        self._given = {node_id: gateway_id for node_id, gateway_id in self._given.items() if node_id in nodes}
        waiting = []
        for node_id, node in nodes.items():
            able = [gateway_id for gateway_id in plan if may_dial(gateway_id, node)] or list(plan)
            owner = self._owner(node_id, able, holder_of(node_id), is_ordered=is_ordered(node_id))
            if owner is None:
                waiting.append((node, able))
                continue
            plan[owner].append(node)
            if holder_of(node_id) != owner:
                load[owner] += 1
        for node, able in waiting if plan else []:
            least = min(able, key=lambda gateway_id: (load[gateway_id], gateway_id))
            self._given[node.node_id] = least
            plan[least].append(node)
            load[least] += 1
        return plan

    def _owner(
        self,
        node_id: PeerId,
        gateway_ids: Collection[str],
        holder: str | None,
        *,
        is_ordered: bool,
    ) -> str | None:
        """Whose a node is already; None for one that is to be given to the least loaded gateway."""
        if holder is not None and holder in gateway_ids:
            if is_ordered:
                self._given[node_id] = holder
            return holder
        if not is_ordered:
            return owner_of(node_id, gateway_ids)
        given = self._given.get(node_id)
        return given if given is not None and given in gateway_ids else None


def share_dynamic_places(places: int, outbound_of: Mapping[str, int]) -> Mapping[str, int]:
    """How many outbound peers, static ones aside, each of these gateways may have, `places` together.

    Each keeps what it has; what is left goes to those with the least, one by one. So the parts add up to
    `places`, or to what is there already where a gateway that came later found the quota spent.
    """
    left = places - sum(outbound_of.values())
    if left <= 0 or not outbound_of:
        return dict(outbound_of)
    # The least are raised together, to where the next one stands, as long as there are places for all of them.
    rising: list[str] = []
    total = left
    for gateway_id in sorted(outbound_of, key=lambda gateway_id: outbound_of[gateway_id]):
        if outbound_of[gateway_id] * len(rising) > total:
            break
        rising.append(gateway_id)
        total += outbound_of[gateway_id]
    level, over = divmod(total, len(rising))
    raised = {gateway_id: level + (at < over) for at, gateway_id in enumerate(sorted(rising))}
    return {gateway_id: raised.get(gateway_id, outbound) for gateway_id, outbound in outbound_of.items()}
