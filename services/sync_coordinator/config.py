"""The coordinator's configuration, read once from flags and environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from services.shared.chainspec.enode import parse_enode
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.process_options import ProcessOptions
from services.shared.trust.addresses import is_local
from services.sync_coordinator.core.call_limits import READS_PER_SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinatorConfig(ProcessOptions):
    """The sync coordinator: peer set, sync loop, downloader, fetcher, chain store."""

    TABLE: ClassVar = "coordinator"

    datadir: Path
    """Directory of the chain store, and of static-nodes.json and trusted-nodes.json; made when it is not there."""

    network: str | None = None
    """A built-in network: mainnet, ropsten, rinkeby, goerli, sepolia, classic, mordor."""

    genesis: Path | None = None
    """A genesis file in geth's JSON format, instead of a built-in network."""

    networkid: int | None = None
    """Network id of the Status message; default: the built-in network's, or the genesis file's chain id."""

    syncmode: Literal["full", "fast", "light"] = "full"
    """full: headers and bodies; fast: receipts and the state near the head too, seals of old blocks sampled;
    light: headers only."""

    seal_check: Literal["auto", "ethash", "clique", "none"] = "auto"
    """How seals are checked; auto: as the network's genesis says."""

    seal_sample: bool = False
    """In light mode: check one seal in each hundred headers, and the last of each batch."""

    seal_workers: int = 0
    """Seals that are checked at once, in worker processes; 0: one per processor."""

    listen: tuple[str, ...] = ("127.0.0.1:7450",)
    """gRPC addresses to listen on, host:port or unix:/path, for gateways, broadcasters and operators."""

    broadcaster: tuple[str, ...] = ()
    """gRPC addresses of the broadcasters."""

    operator_tokens: Path | None = None
    """Lines role:name:token (or role:name:sha256=HEX) of operators who show a token; a role is viewer, operator or
    admin. Unix sockets want no token; without TLS other addresses must be loopback. Read again when it changes."""

    token_listen: tuple[str, ...] = ()
    """gRPC addresses where operators connect by TLS without a certificate of their own, and show a token."""
    client_calls_per_second: float = READS_PER_SECOND
    """Questions a second that one client may ask over TCP, and all clients three times as many; 0: no limit."""

    static_peer: tuple[str, ...] = ()
    """enode URLs that are always kept connected, besides those of static-nodes.json."""

    trusted_peer: tuple[str, ...] = ()
    """enode URLs that may connect above the limit of peers, besides those of trusted-nodes.json."""

    whitelist: tuple[str, ...] = ()
    """NUMBER=HASH: peers whose block of that number is another are dropped."""

    maxpeers: int = 25
    """Most peers, over all gateways; a third of them at most dialled by gateways that discover peers."""

    min_sync_peers: int = 5
    """A new peer starts a sync once this many are connected (geth minDesiredPeerCount)."""

    force_sync_cycle: float = 10.0
    """Seconds after which a sync is tried whatever the number of peers (geth forceSyncCycle)."""

    request_timeout: float = 60.0
    """Longest wait in seconds for a peer's reply; the measured round trips may shorten it, never lengthen."""

    def __post_init__(self) -> None:
        ProcessOptions.__post_init__(self)
        self.check_plaintext("--listen", *self.listen)
        self.check_plaintext("--broadcaster", *self.broadcaster)
        self._check_tokens()
        if (self.network is None) == (self.genesis is None):
            raise ValueError("exactly one of --network and --genesis is needed")
        if self.networkid is not None and not 0 < self.networkid < 2**64:
            raise ValueError(f"--networkid {self.networkid} is not in 1..2^64-1")
        if self.maxpeers < 1:
            raise ValueError(f"--maxpeers {self.maxpeers} is not above 0")
        if self.min_sync_peers < 1:
            raise ValueError(f"--min-sync-peers {self.min_sync_peers} is not above 0")
        if not self.force_sync_cycle > 0:
            raise ValueError(f"--force-sync-cycle {self.force_sync_cycle} is not above 0")
        if not 0 < self.request_timeout <= 60:
            raise ValueError(f"--request-timeout {self.request_timeout} is not in 0..60")
        if self.seal_sample and self.syncmode != "light":
            raise ValueError("--seal-sample is for --syncmode light")
        if not 0 <= self.seal_workers <= 256:
            raise ValueError(f"--seal-workers {self.seal_workers} is not in 0..256")
        if not 0 <= self.client_calls_per_second < float("inf"):
            raise ValueError(f"--client-calls-per-second {self.client_calls_per_second} is not 0 or more")
        for url in (*self.static_peer, *self.trusted_peer):
            parse_enode(url)
        if not self.listen:
            raise ValueError("--listen is needed at least once")
        parse_whitelist(self.whitelist)

    def _check_tokens(self) -> None:
        if self.token_listen and (self.operator_tokens is None or self.tls_ca is None):
            raise ConfigInvalid("--token-listen needs --operator-tokens, and --tls-cert, --tls-key and --tls-ca")
        if self.operator_tokens is None or self.tls_ca is not None:
            return
        for address in self.listen:
            if not is_local(address):
                raise ConfigInvalid(
                    f"--operator-tokens and --listen {address} in plaintext exclude each other: who listens on the way "
                    "would have the tokens; give --tls-cert, --tls-key and --tls-ca"
                )


def parse_whitelist(entries: tuple[str, ...]) -> dict[int, bytes]:
    """NUMBER=HASH entries as a mapping. Raises ValueError that names the bad one."""
    whitelist: dict[int, bytes] = {}
    for entry in entries:
        number, _, block_hash = entry.partition("=")
        digits = block_hash.removeprefix("0x")
        if not number.isdecimal() or len(digits) != 64 or not set(digits.lower()) <= set("0123456789abcdef"):
            raise ValueError(f"--whitelist {entry!r} is not NUMBER=HASH with a hash of 64 hex digits")
        whitelist[int(number)] = bytes.fromhex(digits)
    return whitelist
