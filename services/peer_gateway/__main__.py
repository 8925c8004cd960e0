"""`python -m services.peer_gateway`."""

from __future__ import annotations

import sys

from services.peer_gateway.app import run
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.service import ServiceContext, run_service


async def _run(context: ServiceContext[GatewayConfig]) -> None:
    await run(context.config, stop=context.stop, ready=context.ready)


if __name__ == "__main__":
    sys.exit(run_service("peer_gateway", _run, config_class=GatewayConfig))
