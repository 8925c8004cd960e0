"""The `trisync` command: one module per group of commands.

Errors end a command with one line on stderr and exit code 1 (it failed) or 2 (bad usage).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# Before gRPC is loaded, which would write about failed handshakes beside our one line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import typer
from typer.exceptions import TyperException

from trisync.cli import (
    block_command,
    certs_command,
    chain_commands,
    disconnects,
    doctor_command,
    operator_commands,
    peer_commands,
    propagation_commands,
    service_commands,
    sync_commands,
    transaction_commands,
    up,
)
from trisync.cli.failures import BAD_USAGE, FAILED, CommandFailed

app = typer.Typer(
    name="trisync",
    help="Ethereum's block-synchronisation protocol manager as three services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("init")(chain_commands.init)
app.command("import")(chain_commands.import_)
app.command("export")(chain_commands.export)
app.command("verify")(chain_commands.verify)
app.command("status")(operator_commands.status)
app.command("peers")(operator_commands.peers)
app.command("best-peer")(sync_commands.best_peer)
app.command("sync")(sync_commands.sync)
app.command("disconnects")(disconnects.disconnects)
app.command("block")(block_command.block)
app.command("submit-tx")(transaction_commands.submit_tx)
app.command("watch-tx")(transaction_commands.watch_tx)
app.command("pool")(transaction_commands.pool)
app.command("submit-block")(propagation_commands.submit_block)
app.command("propagation")(propagation_commands.propagation)
app.command("rank-peers")(propagation_commands.rank_peers)
app.command("doctor")(doctor_command.doctor)
app.command("add-peer")(peer_commands.add_peer)
app.command("remove-peer")(peer_commands.remove_peer)
app.command("add-trusted-peer")(peer_commands.add_trusted_peer)
app.command("remove-trusted-peer")(peer_commands.remove_trusted_peer)

for service in (service_commands.coordinator, service_commands.broadcaster, service_commands.gateway):
    app.command(service.__name__, context_settings=service_commands.PASSED_ON, add_help_option=False)(service)
app.command("certs")(certs_command.certs)
app.command("health")(service_commands.health)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    try:
        code = app(args=argv, prog_name="trisync", standalone_mode=False)
    except CommandFailed as failure:
        return _fail(str(failure), failure.exit_code)
    except TyperException as problem:
        return _fail(problem.format_message(), problem.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", FAILED)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    """Without a message the help text was shown: there is nothing to add."""
    hint = "; see --help" if code == BAD_USAGE and "--help" not in message else ""
    if message:
        print(f"trisync: {message.rstrip('.')}{hint}", file=sys.stderr, flush=True)
    return code
