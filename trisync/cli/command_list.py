"""All commands: in which group, under which name, with which examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trisync.cli import (
    block_command,
    blocks_command,
    certs_command,
    chain_commands,
    chain_queries,
    completion_command,
    disconnects,
    doctor_command,
    operator_commands,
    peer_commands,
    propagation_commands,
    service_commands,
    sync_commands,
    transaction_commands,
    up,
    watch_command,
)

RUN: Final = "Run a node"
STORE: Final = "Work on the chain in a data directory"
LOOK: Final = "Look at a running node"
STEER: Final = "Steer a running node"
CHAIN: Final = "Read the chain of a running node"
SERVICE: Final = "One service alone"
SHELL: Final = "Shell"


@dataclass(frozen=True, slots=True)
class Listed:
    """`rpc` names the operator RPCs that the command calls, `Service.Method`."""

    group: str
    name: str
    command: Callable[..., int | None]
    examples: tuple[str, ...] = ()
    rpcs: tuple[str, ...] = ()
    is_configured: bool = True
    """Whether the configuration file counts for it."""
    reads_own_flags: bool = False


COMMANDS: Final = (
    Listed(
        RUN,
        "up",
        up.up,
        (
            "trisync up --network mordor",
            "trisync up --genesis genesis.json --static-peer enode://… --until head --json",
            "trisync up --config trisync.toml --print-config",
        ),
    ),
    Listed(RUN, "doctor", doctor_command.doctor, ("trisync doctor 'enode://…@203.0.113.7:30303' --network mordor",)),
    Listed(STORE, "init", chain_commands.init, ("trisync init --genesis genesis.json --datadir D",)),
    Listed(STORE, "import", chain_commands.import_, ("trisync import --datadir D mainnet-00000.era1 more.rlp.gz",)),
    Listed(STORE, "export", chain_commands.export, ("trisync export --datadir D chain.rlp.gz 0 8191",)),
    Listed(STORE, "verify", chain_commands.verify, ("trisync verify --datadir D",)),
    Listed(
        LOOK,
        "watch",
        watch_command.watch,
        ("trisync watch --datadir D", "trisync watch --json | jq .status.phase"),
        (
            *("CoordinatorService.WatchStatus", "CoordinatorService.ListPeers", "CoordinatorService.ExplainSync"),
            "BlockService.WatchPropagations",
        ),
    ),
    Listed(LOOK, "status", operator_commands.status, (), ("CoordinatorService.GetStatus",)),
    Listed(LOOK, "peers", operator_commands.peers, (), ("CoordinatorService.ListPeers",)),
    Listed(
        LOOK,
        "best-peer",
        sync_commands.best_peer,
        (),
        ("CoordinatorService.BestPeer", "CoordinatorService.ExplainSync"),
    ),
    Listed(
        LOOK,
        "disconnects",
        disconnects.disconnects,
        ("trisync disconnects --side us --limit 10",),
        ("CoordinatorService.ListDisconnects",),
    ),
    Listed(
        LOOK,
        "propagation",
        propagation_commands.propagation,
        ("trisync propagation --follow", "trisync propagation 0x4e3a…"),
        ("BlockService.GetPropagation", "BlockService.WatchPropagations"),
    ),
    Listed(LOOK, "rank-peers", propagation_commands.rank_peers, (), ("BlockService.RankPeers",)),
    Listed(
        LOOK,
        "pool",
        transaction_commands.pool,
        ("trisync pool --content",),
        ("TransactionService.PoolStatus", "TransactionService.PoolContent"),
    ),
    Listed(LOOK, "watch-tx", transaction_commands.watch_tx, (), ("TransactionService.WatchTransaction",)),
    Listed(
        CHAIN,
        "block",
        block_command.block,
        ("trisync block 46147", "trisync block 0x4e3a… --json"),
        ("CoordinatorService.GetBlock",),
    ),
    Listed(CHAIN, "header", chain_queries.header, ("trisync header 46147 --json",), ("CoordinatorService.GetHeader",)),
    Listed(CHAIN, "receipts", chain_queries.receipts, ("trisync receipts 46147",), ("CoordinatorService.GetReceipts",)),
    Listed(CHAIN, "hash", chain_queries.hash_, ("trisync hash 46147",), ("CoordinatorService.GetCanonicalHash",)),
    Listed(
        CHAIN,
        "blocks",
        blocks_command.blocks,
        ("trisync blocks --from 46147 --to 46200", "trisync blocks --cursor … --follow --bodies --json"),
        ("CoordinatorService.StreamBlocks",),
    ),
    Listed(
        STEER,
        "sync",
        sync_commands.sync,
        ("trisync sync --explain",),
        ("CoordinatorService.StartSync", "CoordinatorService.ExplainSync"),
    ),
    Listed(
        STEER,
        "add-peer",
        peer_commands.add_peer,
        ("trisync add-peer 'enode://…@203.0.113.7:30303'",),
        ("CoordinatorService.AddPeer",),
    ),
    Listed(STEER, "remove-peer", peer_commands.remove_peer, (), ("CoordinatorService.RemovePeer",)),
    Listed(STEER, "add-trusted-peer", peer_commands.add_trusted_peer, (), ("CoordinatorService.AddTrustedPeer",)),
    Listed(
        STEER, "remove-trusted-peer", peer_commands.remove_trusted_peer, (), ("CoordinatorService.RemoveTrustedPeer",)
    ),
    Listed(
        STEER,
        "submit-tx",
        transaction_commands.submit_tx,
        ("trisync submit-tx @signed.hex",),
        ("TransactionService.SubmitTransaction",),
    ),
    Listed(
        STEER,
        "submit-block",
        propagation_commands.submit_block,
        ("trisync submit-block block.rlp",),
        ("BlockService.SubmitBlock",),
    ),
    *(
        Listed(SERVICE, service.__name__, service, is_configured=False, reads_own_flags=True)
        for service in (service_commands.coordinator, service_commands.broadcaster, service_commands.gateway)
    ),
    Listed(
        SERVICE,
        "certs",
        certs_command.certs,
        ("trisync certs DIR", "trisync certs DIR --add operator:bob", "trisync certs DIR --renew"),
        is_configured=False,
    ),
    Listed(SERVICE, "health", service_commands.health, ("trisync health 10.0.0.1:7450",), is_configured=False),
    Listed(
        SHELL,
        "completion",
        completion_command.completion,
        ("source <(trisync completion bash)", "trisync completion fish | source"),
        is_configured=False,
    ),
)
