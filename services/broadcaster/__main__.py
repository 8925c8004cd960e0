"""`python -m services.broadcaster`."""

from __future__ import annotations

import sys

from services.broadcaster.app import run
from services.broadcaster.config import BroadcasterConfig
from services.shared.runtime.service import ServiceContext, run_service


async def _run(context: ServiceContext[BroadcasterConfig]) -> None:
    await run(context.config, stop=context.stop, ready=context.ready)


if __name__ == "__main__":
    sys.exit(run_service("broadcaster", _run, config_class=BroadcasterConfig))
