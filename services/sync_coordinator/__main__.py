"""`python -m services.sync_coordinator`: the coordinator as a process."""

from __future__ import annotations

import gc
import sys
from typing import Final

from services.shared.runtime.service import ServiceContext, run_service
from services.sync_coordinator.app import run
from services.sync_coordinator.config import CoordinatorConfig

THREAD_SWITCH_S: Final = 0.001
"""How long the store's writer thread may keep the interpreter from the event loop; Python's own 5 ms is felt there."""

COLLECT_AFTER_OBJECTS: Final = 30_000
"""New objects after which the youngest are searched for cycles; Python's 700 are four replies of headers. What a
sync makes has no cycles, and the searches took a tenth of what a header costs. In a gateway they have work to do."""


async def _run(context: ServiceContext[CoordinatorConfig]) -> None:
    await run(context.config, stop=context.stop, ready=context.ready)


if __name__ == "__main__":
    sys.setswitchinterval(THREAD_SWITCH_S)
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])
    sys.exit(run_service("coordinator", _run, config_class=CoordinatorConfig))
