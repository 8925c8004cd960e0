"""Who may call what: the roles, and the one table that gives every RPC its own."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ROLE_URI_PREFIX: Final = "urn:trisync:role:"
"""A certificate has its role in a URI among its subject alternative names: `urn:trisync:role:viewer`."""


class Role(enum.StrEnum):
    """What a caller is. The first three are people's, the others are services'."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    COORDINATOR = "coordinator"
    BROADCASTER = "broadcaster"
    GATEWAY = "gateway"

    @property
    def uri(self) -> str:
        return ROLE_URI_PREFIX + self.value


PEOPLE: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""Each may do what those before it may."""

SERVICES: Final = (Role.COORDINATOR, Role.BROADCASTER, Role.GATEWAY)


class RoleUnknown(ValueError):
    """A certificate or token that names no role of ours, or several."""


def role_of_uris(uris: tuple[str, ...]) -> Role:
    """The role that a certificate's URIs name. Raises RoleUnknown."""
    named = [uri.removeprefix(ROLE_URI_PREFIX) for uri in uris if uri.startswith(ROLE_URI_PREFIX)]
    if len(named) != 1:
        many = "no role" if not named else f"{len(named)} roles"
        raise RoleUnknown(f"it names {many}, and needs one URI {ROLE_URI_PREFIX}ROLE")
    try:
        return Role(named[0])
    except ValueError:
        raise RoleUnknown(f"its role {named[0]!r} is none of {', '.join(Role)}") from None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call one RPC."""

    least: Role | None = None
    """The least role of a person; None: it is for services only."""

    services: frozenset[Role] = field(default_factory=frozenset)

    everyone: bool = False
    """Whoever can connect, known or not."""

    def allows(self, role: Role) -> bool:
        if self.everyone or role in self.services:
            return True
        # Whoever holds the coordinator's key is the coordinator: its operator API has nothing to keep from it.
        person = Role.ADMIN if role is Role.COORDINATOR else role
        return self.least is not None and person in PEOPLE and PEOPLE.index(person) >= PEOPLE.index(self.least)

    @property
    def is_for_services(self) -> bool:
        """And for no person."""
        return self.least is None and not self.everyone

    @property
    def needed(self) -> str:
        """The role to ask for, in words."""
        if self.least is not None:
            return f"the role {self.least}"
        return "the certificate of a " + " or ".join(sorted(self.services))


VIEWERS: Final = Access(Role.VIEWER)
OPERATORS: Final = Access(Role.OPERATOR)
ADMINS: Final = Access(Role.ADMIN)
EVERYONE: Final = Access(everyone=True)


def _only(*services: Role) -> Access:
    return Access(services=frozenset(services))


_GATEWAYS, _COORDINATOR, _BROADCASTERS = _only(Role.GATEWAY), _only(Role.COORDINATOR), _only(Role.BROADCASTER)

ACCESS: Final[Mapping[str, Access]] = {
    "blocksync.v1.GatewayLinkService/Control": _GATEWAYS,
    "blocksync.v1.GatewayLinkService/Bulk": _GATEWAYS,
    "blocksync.v1.ChainReaderService/ReadHeaders": _GATEWAYS,
    "blocksync.v1.ChainReaderService/ReadBodies": _GATEWAYS,
    "blocksync.v1.ChainReaderService/ReadReceipts": _GATEWAYS,
    "blocksync.v1.ChainReaderService/ReadNodeData": _GATEWAYS,
    "blocksync.v1.ChainWatchService/WatchChain": _BROADCASTERS,
    "blocksync.v1.BroadcastLinkService/Attach": _GATEWAYS,
    "blocksync.v1.BroadcastService/Propagate": _COORDINATOR,
    "blocksync.v1.BroadcastService/AnnounceBlock": _COORDINATOR,
    "blocksync.v1.BroadcastService/CountLacking": _COORDINATOR,
    "blocksync.v1.LedgerService/ReadPropagation": _COORDINATOR,
    "blocksync.v1.LedgerService/ReadPropagations": _COORDINATOR,
    "blocksync.v1.LedgerService/ReadFirstPeers": _COORDINATOR,
    "blocksync.v1.CoordinatorService/GetStatus": VIEWERS,
    "blocksync.v1.CoordinatorService/WatchStatus": VIEWERS,
    "blocksync.v1.CoordinatorService/ListPeers": VIEWERS,
    "blocksync.v1.CoordinatorService/ListDisconnects": VIEWERS,
    "blocksync.v1.CoordinatorService/GetBlock": VIEWERS,
    "blocksync.v1.CoordinatorService/GetHeader": VIEWERS,
    "blocksync.v1.CoordinatorService/GetReceipts": VIEWERS,
    "blocksync.v1.CoordinatorService/GetCanonicalHash": VIEWERS,
    "blocksync.v1.CoordinatorService/StreamBlocks": VIEWERS,
    "blocksync.v1.CoordinatorService/BestPeer": VIEWERS,
    "blocksync.v1.CoordinatorService/ExplainSync": VIEWERS,
    "blocksync.v1.CoordinatorService/StartSync": OPERATORS,
    "blocksync.v1.CoordinatorService/AddPeer": OPERATORS,
    "blocksync.v1.CoordinatorService/RemovePeer": OPERATORS,
    "blocksync.v1.CoordinatorService/AddTrustedPeer": ADMINS,
    "blocksync.v1.CoordinatorService/RemoveTrustedPeer": ADMINS,
    "blocksync.v1.BlockService/SubmitBlock": OPERATORS,
    "blocksync.v1.BlockService/GetPropagation": VIEWERS,
    "blocksync.v1.BlockService/WatchPropagations": VIEWERS,
    "blocksync.v1.BlockService/RankPeers": VIEWERS,
    "blocksync.v1.TransactionService/SubmitTransaction": OPERATORS,
    "blocksync.v1.TransactionService/PoolStatus": VIEWERS,
    "blocksync.v1.TransactionService/PoolContent": VIEWERS,
    "blocksync.v1.TransactionService/WatchTransaction": VIEWERS,
    # Says no more than whether a service works, and what supervises it has no certificate of its own.
    "grpc.health.v1.Health/Check": EVERYONE,
    "grpc.health.v1.Health/List": EVERYONE,
    "grpc.health.v1.Health/Watch": EVERYONE,
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": ADMINS,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ADMINS,
    # Tells the addresses of all clients, and what each does.
    "grpc.channelz.v1.Channelz/GetTopChannels": ADMINS,
    "grpc.channelz.v1.Channelz/GetServers": ADMINS,
    "grpc.channelz.v1.Channelz/GetServer": ADMINS,
    "grpc.channelz.v1.Channelz/GetServerSockets": ADMINS,
    "grpc.channelz.v1.Channelz/GetChannel": ADMINS,
    "grpc.channelz.v1.Channelz/GetSubchannel": ADMINS,
    "grpc.channelz.v1.Channelz/GetSocket": ADMINS,
}
"""By `package.Service/Method`. What is not here is called by nobody who is not let do everything."""
