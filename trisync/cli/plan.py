"""What `up` starts: one command line per service."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.chainspec.networks import network
from services.shared.trust.addresses import plaintext_refusal
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import BadUsage

MAX_PORT = 65_535

STATIC_NODES = "static-nodes.json"
"""geth's list of static nodes, which the coordinator reads from its data directory."""

GATEWAY_LISTEN = "127.0.0.1:0"
"""Where a gateway answers health checks."""


GATHER_S = 1.5
"""How long several gateways wait for each other before they dial: they start within about a second. The
first one would otherwise take all static nodes, and keep them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StackOptions:
    """What a user may set about the three services. Checked when built; raises BadUsage."""

    data_dir: DataDir
    chain: ChainChoice
    syncmode: str = "full"
    seal_check: str = "auto"
    seal_sample: bool = False
    seal_workers: int = 0
    host: str = "0.0.0.0"  # noqa: S104 - peers come from anywhere
    port: int = 30303
    nodekey: str | None = None
    nodiscover: bool = False
    bootnodes: tuple[str, ...] | None = None
    """Where the search for peers begins; None: at the boot nodes of the built-in network."""
    static_peers: tuple[str, ...] = ()
    trusted_peers: tuple[str, ...] = ()
    netrestrict: str | None = None
    maxpeers: int = 25
    min_sync_peers: int = 5
    force_sync_cycle: float = 10.0
    whitelist: tuple[str, ...] = ()
    gateways: int = 1
    fan_out: str = "seed"
    listen: tuple[str, ...] = ()
    """More addresses for the coordinator than its unix socket."""
    tls_files: tuple[Path, Path, Path] | None = None
    """Certificate, key and CA for those addresses."""
    insecure: bool = False
    """Allow those to be plaintext beyond loopback."""
    metrics_port: int = 0
    """The coordinator's; the broadcaster has the next one, then the gateways. 0: any free ports."""
    log_level: str | None = None
    """None: as each service finds it, in its variables or the configuration file."""
    config_file: Path | None = None
    """Where services find the settings that there is no flag for here."""

    def __post_init__(self) -> None:
        if not 1 <= self.gateways <= 64:
            raise BadUsage(f"--gateways {self.gateways} is not in 1..64")
        _check_ports("--port", self.port, self.gateways)
        _check_ports("--metrics-port", self.metrics_port, self.gateways + 2)
        _check_nodes("--static-peer", self.static_peers)
        _check_nodes("--trusted-peer", self.trusted_peers)
        for node in _check_nodes("--bootnodes", self.bootnodes or ()):
            if not node.udp_port:
                raise BadUsage(f"--bootnodes: {node} takes no part in discovery (discport=0)")
        if self.netrestrict is not None:
            _check_networks(self.netrestrict)
        if self.seal_sample and self.syncmode != "light":
            raise BadUsage("--seal-sample is for --syncmode light")
        for flag, number in (("--maxpeers", self.maxpeers), ("--min-sync-peers", self.min_sync_peers)):
            if number < 1:
                raise BadUsage(f"{flag} {number} is not above 0")
        if not 0 < self.force_sync_cycle < float("inf"):
            raise BadUsage(f"--force-sync-cycle {self.force_sync_cycle} is not above 0 seconds")
        for address in self.listen if self.tls_files is None and not self.insecure else ():
            if (refusal := plaintext_refusal("--listen", address)) is not None:
                raise BadUsage(refusal)


def _check_networks(text: str) -> None:
    for entry in text.split(","):
        try:
            ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError:
            raise BadUsage(f"--netrestrict: {entry!r} is not a network such as 10.0.0.0/8 or fd00::/8") from None


def _check_nodes(flag: str, urls: tuple[str, ...]) -> list[Enode]:
    try:
        return [parse_enode(url) for url in urls]
    except EnodeInvalid as problem:
        raise BadUsage(f"{flag}: {problem}") from problem


def _check_ports(flag: str, first: int, count: int) -> None:
    if not 0 <= first <= MAX_PORT:
        raise BadUsage(f"{flag} {first} is not in 0..{MAX_PORT}")
    if first and first + count - 1 > MAX_PORT:
        raise BadUsage(f"{flag} {first} leaves no room for {count} ports in a row")


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One process: `name` tells it apart from its siblings, `service` is what it calls itself in its ready file."""

    name: str
    service: str
    module: str
    run_dir: Path
    log_path: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready_path(self) -> Path:
        return self.run_dir / f"{self.service}.json"


@dataclass(frozen=True, slots=True)
class StackPlan:
    """The processes of a stack. Gateways are last to start and first to stop."""

    coordinator: ServicePlan
    broadcaster: ServicePlan
    gateways: tuple[ServicePlan, ...]
    coordinator_address: str
    has_static_peers: bool = False

    @property
    def services(self) -> tuple[ServicePlan, ...]:
        return (self.broadcaster, self.coordinator, *self.gateways)


def plan_stack(options: StackOptions) -> StackPlan:
    """Turn the options into command lines. Caller's duty: `DataDir.prepare` before."""
    sockets = options.data_dir.sockets_dir()
    coordinator, broadcaster = f"unix:{sockets / 'coordinator.sock'}", f"unix:{sockets / 'broadcaster.sock'}"
    return StackPlan(
        coordinator=_coordinator(options, coordinator, broadcaster),
        broadcaster=_broadcaster(options, coordinator, broadcaster),
        gateways=tuple(_gateway(options, index, coordinator, broadcaster) for index in range(options.gateways)),
        coordinator_address=coordinator,
        has_static_peers=bool(options.static_peers) or (options.data_dir.path / STATIC_NODES).exists(),
    )


def _broadcaster(options: StackOptions, coordinator: str, address: str) -> ServicePlan:
    arguments = ["--listen", address, "--coordinator", coordinator, "--fan-out", options.fan_out]
    return ServicePlan(
        name="broadcaster",
        service="broadcaster",
        module="services.broadcaster",
        run_dir=options.data_dir.run_dir,
        log_path=options.data_dir.logs_dir / "broadcaster.log",
        arguments=(
            *arguments,
            *("--datadir", str(options.data_dir.path)),
            *_common(options, options.data_dir.run_dir, 1),
        ),
        environment=NO_TLS,
    )


def _coordinator(options: StackOptions, address: str, broadcaster: str) -> ServicePlan:
    listen = [word for one in (address, *options.listen) for word in ("--listen", one)]
    peers = [word for url in options.static_peers for word in ("--static-peer", url)]
    peers += [word for url in options.trusted_peers for word in ("--trusted-peer", url)]
    peers += [word for entry in options.whitelist for word in ("--whitelist", entry)]
    arguments = [
        *("--datadir", str(options.data_dir.path)),
        *_chain(options),
        *("--syncmode", options.syncmode),
        *("--seal-check", options.seal_check),
        _switch("--seal-sample", is_on=options.seal_sample),
        *("--seal-workers", str(options.seal_workers)),
        *listen,
        *_shown(options),
        *("--broadcaster", broadcaster),
        # The API of one machine's stack is there to be tried, with grpcurl too.
        "--reflection",
        *("--maxpeers", str(options.maxpeers)),
        *("--min-sync-peers", str(options.min_sync_peers)),
        *("--force-sync-cycle", str(options.force_sync_cycle)),
        *peers,
    ]
    return ServicePlan(
        name="coordinator",
        service="coordinator",
        module="services.sync_coordinator",
        run_dir=options.data_dir.run_dir,
        log_path=options.data_dir.logs_dir / "coordinator.log",
        arguments=(*arguments, *_common(options, options.data_dir.run_dir, 0)),
        # Flags beat them. Where `up` has none, the file has nothing to add: `up` has read it.
        environment={"TRISYNC_STATIC_PEER": "", "TRISYNC_TRUSTED_PEER": "", "TRISYNC_WHITELIST": ""},
    )


def _shown(options: StackOptions) -> list[str]:
    """What operators are shown at the coordinator's further addresses."""
    names = ("--tls-cert", "--tls-key", "--tls-ca")
    files = zip(names, options.tls_files, strict=True) if options.tls_files is not None else ()
    return [word for name, path in files for word in (name, str(path))] + ["--insecure"] * options.insecure


NO_TLS = {"TRISYNC_TLS_CERT": "", "TRISYNC_TLS_KEY": "", "TRISYNC_TLS_CA": ""}
"""For the services behind: `up` takes these variables for the coordinator, and their links are unix sockets."""


def _gateway(options: StackOptions, index: int, coordinator: str, broadcaster: str) -> ServicePlan:
    key_file = options.data_dir.path / ("nodekey" if index == 0 else f"nodekey-{index}")
    nodekey = options.nodekey if options.nodekey is not None and index == 0 else str(key_file)
    arguments = [
        *("--coordinator", coordinator),
        *("--broadcaster", broadcaster),
        *("--gateway-id", f"gateway-{index}"),
        # Also what `up` has no need to change: else TRISYNC_LISTEN, meant for the coordinator, would count here.
        *("--listen", GATEWAY_LISTEN),
        *("--maxpeers", str(options.maxpeers)),
        *("--host", options.host),
        *("--port", str(options.port + index if options.port else 0)),
        _switch("--nodiscover", is_on=options.nodiscover),
        *(("--dial-after", str(GATHER_S)) if options.gateways > 1 else ()),
        *("--netrestrict", options.netrestrict or ""),
        # These in any case, if empty: else TRISYNC_BOOTNODES, or another network's, would count where `up` has none.
        *("--network", ""),
        *("--bootnodes", ",".join(_boot_nodes(options))),
        # Where it keeps the nodes it found and its former peers. Its key has a place of its own.
        *("--datadir", str(options.data_dir.path / f"gateway-{index}")),
    ]
    run_dir = options.data_dir.run_dir / f"gateway-{index}"
    return ServicePlan(
        name=f"gateway-{index}",
        service="peer_gateway",
        module="services.peer_gateway",
        run_dir=run_dir,
        log_path=options.data_dir.logs_dir / f"gateway-{index}.log",
        arguments=(*arguments, *_common(options, run_dir, 2 + index)),
        # Not a flag: a key must not stand in the list of processes.
        # And trusted nodes are told by the coordinator: operators may take those of TRISYNC_TRUSTED_PEER away.
        environment={"TRISYNC_NODEKEY": nodekey, "TRISYNC_TRUSTED_PEER": "", "TRISYNC_SHARED_DATADIR": "", **NO_TLS},
    )


def _chain(options: StackOptions) -> list[str]:
    """The one that is not chosen is emptied: else a file may choose it too."""
    return [*options.chain.arguments(), "--genesis" if options.chain.genesis is None else "--network", ""]


def _switch(flag: str, *, is_on: bool) -> str:
    """Said in both cases: else the file may turn on what is off here."""
    return f"{flag}={'true' if is_on else 'false'}"


def _boot_nodes(options: StackOptions) -> list[str]:
    """A gateway does not know the network, so it is told its boot nodes."""
    if options.bootnodes is not None:
        return list(options.bootnodes)
    chosen = options.chain.network
    return [] if chosen is None else [str(node) for node in network(chosen).boot_nodes]


def _common(options: StackOptions, run_dir: Path, index: int) -> list[str]:
    """The flags that every service has; `index` is its place in the row of metrics ports."""
    return [
        *("--metrics-port", str(options.metrics_port + index if options.metrics_port else 0)),
        *("--run-dir", str(run_dir)),
        *(("--log-level", options.log_level) if options.log_level is not None else ()),
        *(("--config", str(options.config_file.expanduser().absolute())) if options.config_file is not None else ()),
        "--stop-with-parent",
    ]
