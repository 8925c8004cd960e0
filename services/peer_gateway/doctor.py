"""`python -m services.peer_gateway.doctor URL`: dials one peer and says why it works or does not.

The `trisync` command becomes this module, so its output, signals and exit code are what the user sees:
0 it works, 1 it does not (why is the last line), 2 bad usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from services.peer_gateway.core.chain_names import ExpectedChain, expected_genesis, expected_network
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.diagnosis import Diagnosis, Dial
from services.peer_gateway.core.ecies import generate_key
from services.peer_gateway.core.interview import DoctorLimits
from services.peer_gateway.core.verdicts import Report, Step, Verdict
from services.peer_gateway.edges.client_name import client_name
from services.peer_gateway.edges.doctor_dial import Doctor
from services.peer_gateway.edges.node_key import existing_node_key
from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.chainspec.genesis import GenesisInvalid, load_genesis
from services.shared.chainspec.networks import NETWORK_NAMES, UnknownNetwork
from services.shared.runtime.faults import ConfigInvalid, StartRefused

WORKS, FAILED, BAD_USAGE = 0, 1, 2

LISTEN_PORT: Final = 0
"""Our Hello says that we cannot be dialled: there is nobody to dial a moment later."""

NODE_KEY_VARIABLE: Final = "TRISYNC_DOCTOR_NODEKEY"
"""Not TRISYNC_NODEKEY, which is the key of the node that may be running meanwhile."""

MOST_TIMEOUT_S: Final = 3600.0

ANY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
"""What a node that listens everywhere prints in its URL."""


class CannotDial(Exception):
    """There is nothing to diagnose; the text is the one line the user reads."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Printer:
    """Lines for people as things happen; with JSON only one object, at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def note(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)

    def step(self, step: Step) -> None:
        self.note(f"{step.outcome:<6} {step.name:<12} {step.seconds:7.3f} s  {step.text}")

    def report(self, node: Enode, report: Report) -> None:
        if self._as_json:
            print(json.dumps(report_json(node, report)), flush=True)
            return
        verdict = "it works" if report.verdict is Verdict.WORKS else f"it does not work ({report.verdict})"
        print(f"{verdict}: {report.explanation}", flush=True)


def report_json(node: Enode, report: Report) -> dict[str, object]:
    """The report, for programs."""
    facts = {
        name: f"0x{value.hex()}" if isinstance(value, bytes) else value for name, value in asdict(report.facts).items()
    }
    steps = [
        {"step": step.name, "outcome": step.outcome, "seconds": round(step.seconds, 6), "text": step.text}
        for step in report.steps
    ]
    return {
        "enode": str(node),
        "works": report.verdict is Verdict.WORKS,
        "verdict": report.verdict,
        "explanation": report.explanation,
        "steps": steps,
        "facts": facts,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    printer = Printer(as_json=options.json)
    try:
        node, dial = _planned(options)
    except CannotDial as problem:
        print(f"trisync: {problem}", file=sys.stderr, flush=True)
        return problem.exit_code
    _introduce(printer, node, dial, is_fresh=options.nodekey is None)
    report = asyncio.run(_run(dial, printer))
    printer.report(node, report)
    return WORKS if report.verdict is Verdict.WORKS else FAILED


async def _run(dial: Dial, printer: Printer) -> Report:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await Doctor(Diagnosis(dial, os.urandom), dial.node, dial.limits.dial_s, printer.step).run()


def _planned(options: argparse.Namespace) -> tuple[Enode, Dial]:
    try:
        node = parse_enode(options.url)
    except EnodeInvalid as problem:
        raise CannotDial(str(problem), BAD_USAGE) from problem
    if node.tcp_port == 0:
        raise CannotDial(f"{node}: TCP port 0 says that this node takes no connections", BAD_USAGE)
    try:
        key = generate_key(os.urandom) if options.nodekey is None else existing_node_key(options.nodekey)
    except ConfigInvalid as problem:
        raise CannotDial(str(problem), BAD_USAGE) from problem
    except StartRefused as problem:
        raise CannotDial(str(problem), FAILED) from problem
    local = LocalNode(key=key, client_name=client_name(), listen_port=LISTEN_PORT)
    return node, Dial(local=local, node=node, expected=_expected(options), limits=_limits(options.timeout))


def _expected(options: argparse.Namespace) -> ExpectedChain | None:
    try:
        if options.genesis is not None:
            return expected_genesis(options.genesis.name, load_genesis(options.genesis), options.networkid)
        return None if options.network is None else expected_network(options.network, options.networkid)
    except GenesisInvalid as problem:
        raise CannotDial(str(problem), FAILED) from problem
    except UnknownNetwork as problem:
        raise CannotDial(str(problem), BAD_USAGE) from problem


def _limits(timeout_s: float | None) -> DoctorLimits:
    if timeout_s is None:
        return DoctorLimits()
    return DoctorLimits(dial_s=timeout_s, handshake_s=timeout_s, answer_s=timeout_s)


def _introduce(printer: Printer, node: Enode, dial: Dial, *, is_fresh: bool) -> None:
    expected = dial.expected
    asked = "whatever chain it is on" if expected is None else f"{expected.name}, network id {expected.network_id}"
    printer.note(f"dialling {node.node_id.hex()[:16]}… at {node.host}:{node.tcp_port}; {asked}")
    made = (
        "made for this dial, so that a running node of ours is not mistaken for us" if is_fresh else "as --nodekey says"
    )
    printer.note(f"we are {dial.local.node_id.hex()[:16]}… ({made})")
    if node.host in ANY_HOST:
        printer.note(f"{node.host} is no address of another machine: put the node's own address in its place")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= MOST_TIMEOUT_S):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MOST_TIMEOUT_S:g} seconds")
    return seconds


def _network_id(text: str) -> int:
    number = int(text)
    if not 1 <= number < 2**64:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..2^64-1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trisync doctor", description="Dial a peer and say why it works or not.")
    parser.add_argument("url", metavar="URL", help="enode URL of the peer")
    chain = parser.add_mutually_exclusive_group()
    chain.add_argument("--genesis", type=Path, help="genesis file in geth's format")
    chain.add_argument("--network", help=f"one of {', '.join(NETWORK_NAMES)}; without both: whatever the peer is on")
    parser.add_argument("--networkid", type=_network_id)
    parser.add_argument("--timeout", type=_seconds, help="seconds that each step may take")
    parser.add_argument(
        "--nodekey",
        default=os.environ.get(NODE_KEY_VARIABLE),
        help="64 hex digits or a file that has them; without it a key made for this dial",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
