"""A geth process on mainnet's first blocks, loopback only, asked over its IPC socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from services.shared.chainspec.enode import Enode, parse_enode
from tests.support.deadlines import DEADLINE_S, until

CONFIG: Final = """
[Node.P2P]
ListenAddr = "127.0.0.1:0"
NetRestrict = ["127.0.0.0/8"]
NoDiscovery = {no_discovery}
BootstrapNodes = [{boot_nodes}]
"""
"""Not the flag --port, which would listen on every interface."""

IPC_LIMIT_BYTES: Final = 1 << 20


class Geth:
    """One running node."""

    def __init__(self, ipc: Path) -> None:
        self._ipc = ipc

    async def call(self, method: str, *params: object) -> Any:
        reader, writer = await asyncio.open_unix_connection(str(self._ipc), limit=IPC_LIMIT_BYTES)
        try:
            writer.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
            async with asyncio.timeout(DEADLINE_S):
                answer = json.loads(await reader.readline())
        finally:
            writer.close()
        assert "error" not in answer, answer
        return answer["result"]

    async def enode(self) -> Enode:
        return parse_enode((await self.call("admin_nodeInfo"))["enode"])

    async def head(self) -> int:
        return int(await self.call("eth_blockNumber"), 16)

    async def peers(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = await self.call("admin_peers")
        return found


@contextlib.asynccontextmanager
async def running_geth(
    binary: str,
    directory: Path,
    chain: Path | None = None,
    bootnodes: Sequence[str] | None = None,
    network: Sequence[str] = (),
    genesis: Path | None = None,
    syncmode: str = "full",
) -> AsyncIterator[Geth]:
    """A node on an empty data directory, into which `chain` is imported first, with the state of every block.

    Discovery is on where boot nodes are given, none included. `network` are the flags of one that is not
    mainnet; `genesis` is its genesis file.
    """
    quoted = ", ".join(f'"{url}"' for url in bootnodes or ())
    config_text = CONFIG.format(no_discovery=str(bootnodes is None).lower(), boot_nodes=quoted)
    (directory / "config.toml").write_text(config_text)
    ipc, log = directory / "ipc", directory / "log"
    flags = ["--datadir", str(directory / "data"), "--cache", "64", "--nousb", "--verbosity", "3"]
    flags += ["--ethash.dagdir", str(directory / "dags"), "--ipcpath", str(ipc)]
    home = {**os.environ, "HOME": str(directory)}
    with log.open("wb") as out:
        start = partial(asyncio.create_subprocess_exec, binary, *flags, stdin=DEVNULL, stdout=out, stderr=out, env=home)
        if genesis is not None:
            await _end(await start("init", str(genesis)), within_s=DEADLINE_S)
        if chain is not None:
            await _end(await start("import", "--gcmode", "archive", str(chain)), within_s=2 * DEADLINE_S)
            assert "Import done" in log.read_text(), log.read_text()
        config = str(directory / "config.toml")
        node = await start("--config", config, "--nat", "none", "--syncmode", syncmode, *network)
    try:
        await until(lambda: ipc.exists() or node.returncode is not None, "geth's IPC socket")
        assert node.returncode is None, log.read_text()
        yield Geth(ipc)
    finally:
        with contextlib.suppress(ProcessLookupError):
            node.send_signal(signal.SIGINT)
        await _end(node, within_s=DEADLINE_S)


async def _end(process: Process, *, within_s: float) -> None:
    """Wait for its end; kill it when that takes too long."""
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
