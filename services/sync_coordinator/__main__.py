"""`python -m services.sync_coordinator`: the coordinator as a process."""

from __future__ import annotations

import sys

from services.shared.runtime.service import ServiceContext, run_service
from services.sync_coordinator.app import run
from services.sync_coordinator.config import CoordinatorConfig


async def _run(context: ServiceContext[CoordinatorConfig]) -> None:
    await run(context.config, stop=context.stop, ready=context.ready)


if __name__ == "__main__":
    sys.exit(run_service("coordinator", _run, config_class=CoordinatorConfig))
