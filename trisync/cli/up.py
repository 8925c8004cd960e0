"""`trisync up`: the three services on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from trisync.cli import flags
from trisync.cli.chain_choice import choose_chain
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.goal import Goal, parse_goal
from trisync.cli.plan import StackOptions
from trisync.cli.progress import make_view
from trisync.cli.run_stack import Reached, logs_followed, running_stack, sync_until
from trisync.cli.waiting import Stopped, stop_on_signals
from trisync.node_status import NodeStatus

SYNCMODE_HELP: Final = (
    "full: headers and bodies; fast: receipts and the state near the head too, seals of old blocks sampled; "
    "light: headers only."
)


@dataclass(frozen=True, slots=True)
class UpOptions:
    stack: StackOptions
    goal: Goal | None
    as_json: bool
    verbose: bool


def up(
    datadir: flags.Datadir = flags.DEFAULT_DATADIR,
    network: flags.Network = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    syncmode: Annotated[
        flags.Mode,
        typer.Option("--syncmode", envvar="TRISYNC_SYNCMODE", help=SYNCMODE_HELP),
    ] = flags.Mode.FULL,
    seal_check: flags.Seal = flags.SealCheck.AUTO,
    seal_sample: Annotated[
        bool,
        typer.Option(
            "--seal-sample",
            envvar="TRISYNC_SEAL_SAMPLE",
            help="With --syncmode light: check one seal in each hundred headers, and the last of each batch.",
        ),
    ] = False,
    seal_workers: Annotated[
        int,
        typer.Option(
            "--seal-workers",
            envvar="TRISYNC_SEAL_WORKERS",
            help="Seals that are checked at once; 0: one per processor.",
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option("--host", envvar="TRISYNC_HOST", help="Address that peers connect to.")
    ] = "0.0.0.0",  # noqa: S104 - peers come from anywhere
    port: Annotated[
        int, typer.Option("--port", envvar="TRISYNC_PORT", help="Port of peers, TCP and UDP; 0: any free one.")
    ] = 30303,
    nodekey: Annotated[
        str | None,
        typer.Option(
            "--nodekey",
            envvar="TRISYNC_NODEKEY",
            show_default="nodekey in the data directory",
            help="The node key: 64 hex digits, or a file that has them, made if it is not there.",
        ),
    ] = None,
    nodiscover: Annotated[
        bool,
        typer.Option(
            "--nodiscover",
            envvar="TRISYNC_NODISCOVER",
            help="Search for no peers: only static peers, and those that connect to us.",
        ),
    ] = False,
    bootnodes: Annotated[
        list[str] | None,
        typer.Option(
            "--bootnodes",
            envvar="TRISYNC_BOOTNODES",
            show_default="those of the built-in network",
            help="enode URLs where the search for peers begins, separated by commas. Repeatable.",
        ),
    ] = None,
    static_peer: Annotated[
        list[str] | None,
        typer.Option(
            "--static-peer", envvar="TRISYNC_STATIC_PEER", help="enode URL that is always kept connected. Repeatable."
        ),
    ] = None,
    trusted_peer: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-peer",
            envvar="TRISYNC_TRUSTED_PEER",
            help="enode URL that may connect above the limit of peers. Repeatable.",
        ),
    ] = None,
    netrestrict: Annotated[
        str | None,
        typer.Option(
            "--netrestrict",
            envvar="TRISYNC_NETRESTRICT",
            metavar="CIDR[,CIDR]",
            help="The only networks to have peers in, for those that connect and those that are dialled.",
        ),
    ] = None,
    maxpeers: Annotated[int, typer.Option("--maxpeers", envvar="TRISYNC_MAXPEERS", help="Most peers.")] = 25,
    min_sync_peers: Annotated[
        int,
        typer.Option(
            "--min-sync-peers",
            envvar="TRISYNC_MIN_SYNC_PEERS",
            help="A new peer starts a sync once this many are connected; a static one always does.",
        ),
    ] = 5,
    force_sync_cycle: Annotated[
        float,
        typer.Option(
            "--force-sync-cycle",
            envvar="TRISYNC_FORCE_SYNC_CYCLE",
            help="Seconds after which a sync is tried whatever the number of peers.",
        ),
    ] = 10.0,
    whitelist: Annotated[
        list[str] | None,
        typer.Option(
            "--whitelist",
            envvar="TRISYNC_WHITELIST",
            help="NUMBER=HASH: drop peers whose block of that number is another. Repeatable.",
        ),
    ] = None,
    gateways: Annotated[
        int, typer.Option("--gateways", envvar="TRISYNC_GATEWAYS", help="Peer gateways, on ports in a row.")
    ] = 1,
    fan_out: Annotated[
        flags.FanOut,
        typer.Option(
            "--fan-out",
            envvar="TRISYNC_FAN_OUT",
            help="How many peers get a whole new block: seed (square root, at least four), sqrt (no floor), all.",
        ),
    ] = flags.FanOut.SEED,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            envvar="TRISYNC_LISTEN",
            help="gRPC address (host:port) at which operators reach the coordinator too. Repeatable.",
        ),
    ] = None,
    tls_cert: flags.OwnCert = None,
    tls_key: flags.OwnKey = None,
    tls_ca: flags.OwnCa = None,
    insecure: flags.ListenInsecure = False,
    metrics_port: Annotated[
        int,
        typer.Option(
            "--metrics-port",
            envvar="TRISYNC_METRICS_PORT",
            help="Port of the coordinator's /metrics; the next ones are the broadcaster's and gateways'. 0: any.",
        ),
    ] = 0,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            envvar="TRISYNC_UNTIL",
            metavar="BLOCK|head",
            help="End once this block, or the best head, is ours.",
        ),
    ] = None,
    log_level: Annotated[
        flags.LogLevel | None,
        typer.Option(
            "--log-level",
            envvar="TRISYNC_LOG_LEVEL",
            show_default="info",
            metavar="LEVEL",
            help="Least level that services log: debug, info, warning or error.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", envvar="TRISYNC_VERBOSE", help="Show the services' logs on stderr too.")
    ] = False,
    as_json: flags.Json = False,
    config_file: Path | None = None,
) -> int:
    """Run the three services on this machine until Ctrl-C, or until --until is reached."""
    options = UpOptions(
        stack=StackOptions(
            data_dir=DataDir(datadir),
            chain=choose_chain(network, genesis, networkid),
            syncmode=syncmode.value,
            seal_check=seal_check.value,
            seal_sample=seal_sample,
            seal_workers=seal_workers,
            host=host,
            port=port,
            nodekey=nodekey,
            nodiscover=nodiscover,
            bootnodes=None if bootnodes is None else flags.split_words(bootnodes),
            static_peers=flags.split_words(static_peer),
            trusted_peers=flags.split_words(trusted_peer),
            netrestrict=netrestrict,
            maxpeers=maxpeers,
            min_sync_peers=min_sync_peers,
            force_sync_cycle=force_sync_cycle,
            whitelist=flags.split_words(whitelist),
            gateways=gateways,
            fan_out=fan_out.value,
            listen=flags.split_words(listen),
            tls_files=flags.own_files(tls_cert, tls_key, tls_ca),
            insecure=insecure,
            metrics_port=metrics_port,
            log_level=log_level.value if log_level is not None else None,
            config_file=config_file,
        ),
        goal=parse_goal(until) if until is not None else None,
        as_json=as_json,
        verbose=verbose,
    )
    return asyncio.run(run_up(options))


async def run_up(options: UpOptions) -> int:
    """The exit code, once everything that was started has ended."""
    stop = stop_on_signals()
    reached: Reached | None = None
    options.stack.data_dir.prepare()
    with make_view() as view, contextlib.suppress(Stopped):
        async with (
            logs_followed(options.stack.data_dir.logs_dir) if options.verbose else contextlib.nullcontext(),
            running_stack(options.stack, view.say, stop) as stack,
        ):
            for enode in stack.enodes:
                print(enode, flush=True)
            reached = await sync_until(stack, options.goal, view, stop)
    if reached is not None:
        print(summary_line(reached.status), flush=True)
        if options.as_json:
            print(json.dumps(summary_json(reached.status)), flush=True)
    elif options.goal is not None:
        raise CommandFailed("stopped before --until was reached")
    return DONE


def summary_line(status: NodeStatus) -> str:
    """What was synced, for people."""
    rate = status.blocks_synced / status.sync_seconds if status.sync_seconds > 0 else 0.0
    return (
        f"at block {status.head.number} 0x{status.head.block_hash.hex()}: {status.blocks_synced} blocks "
        f"in {status.sync_seconds:.1f} s ({rate:.0f} blocks/s), {status.mode.value} mode"
    )


def summary_json(status: NodeStatus) -> dict[str, object]:
    """What was synced, for programs."""
    return {
        "head_number": status.head.number,
        "head_hash": f"0x{status.head.block_hash.hex()}",
        "total_difficulty": status.head.total_difficulty,
        "mode": status.mode.value,
        "blocks": status.blocks_synced,
        "bytes": status.bytes_synced,
        "seconds": round(status.sync_seconds, 3),
        "peers": status.peer_count,
    }
