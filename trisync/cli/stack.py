"""The three services as one: started together, restarted when one dies, stopped in order."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, NoReturn

from trisync.cli.child import Child, ChildFailed
from trisync.cli.failures import BAD_USAGE, FAILED
from trisync.cli.plan import StackPlan
from trisync.cli.waiting import first_of

GATEWAYS_STOP_S: Final = 1.5
"""How long gateways have to say goodbye to their peers before the services behind them are stopped too."""

BROADCASTER_STOP_S: Final = 0.7

STOP_WITHIN_S: Final = 4.5
"""All services together; what still runs then is killed."""

FIRST_RESTART_S: Final = 0.2
LONGEST_RESTART_S: Final = 10.0

STEADY_AFTER_S: Final = 30.0
"""A service that ran this long starts again with the first delay."""

MEMORY_FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
"""How a process ends that reads a damaged file through its memory."""

RESTARTS_THAT_FAIL: Final = 5
"""A service that cannot be started again this often in a row ends the stack."""


class Stack:
    """Order of calls: `start`, `supervise` until cancelled or failed, `stop` in every case."""

    def __init__(self, plan: StackPlan, lock_descriptor: int, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._say = say
        self._rng = random.Random()
        self.coordinator = Child(plan.coordinator, lock_descriptor)
        self.broadcaster = Child(plan.broadcaster, lock_descriptor)
        self.gateways = [Child(gateway, lock_descriptor) for gateway in plan.gateways]

    @property
    def children(self) -> list[Child]:
        return [self.broadcaster, self.coordinator, *self.gateways]

    @property
    def enodes(self) -> list[str]:
        return [str(gateway.facts["enode"]) for gateway in self.gateways if "enode" in gateway.facts]

    async def start(self) -> None:
        """Wait until each is ready. Raises ChildFailed with the first one's reason.

        The coordinator is first, so that the others reach it at their first try.
        """
        await self.coordinator.start()
        await self.coordinator.wait_ready()
        others = (self.broadcaster, *self.gateways)
        for child in others:
            await child.start()
        # Gateways are ready only with a coordinator, so it is kept from now on.
        await first_of(_all_or_first_failure(child.wait_ready() for child in others), self._keep(self.coordinator))

    async def supervise(self) -> NoReturn:
        """Start again what dies. Raises ChildFailed when that does not help."""
        await _all_or_first_failure(self._keep(child) for child in self.children)
        raise AssertionError("services are kept until cancelled")

    async def stop(self) -> bool:
        """Gateways, broadcaster, coordinator; kill what takes too long. True when nothing had to be killed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_WITHIN_S
        for group, patience_s in (
            (self.gateways, GATEWAYS_STOP_S),
            ([self.broadcaster], BROADCASTER_STOP_S),
            ([self.coordinator], STOP_WITHIN_S),
        ):
            for child in group:
                child.terminate()
            await _wait_ended(group, min(patience_s, deadline - loop.time()))
        await _wait_ended(self.children, deadline - loop.time())
        late = [child for child in self.children if child.is_running]
        for child in self.children:
            child.kill_group()
        await _wait_ended(late, 1.0)
        for child in late:
            self._say(f"{child.plan.name} did not stop in time and was killed")
        return not late

    async def _keep(self, child: Child) -> NoReturn:
        loop = asyncio.get_running_loop()
        delay_s, failures, started = FIRST_RESTART_S, 0, loop.time()
        while True:
            code = await child.wait_end()
            child.kill_group()
            if loop.time() - started > STEADY_AFTER_S:
                delay_s, failures = FIRST_RESTART_S, 0
            self._say(f"{child.plan.name} {_describe_end(child, code)}; starting it again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s * self._rng.uniform(0.8, 1.0))
            delay_s, started = min(2 * delay_s, LONGEST_RESTART_S), loop.time()
            before = child.facts.get("enode")
            await child.start()
            try:
                await child.wait_ready()
            except ChildFailed as failure:
                failures += 1
                if failures == RESTARTS_THAT_FAIL or failure.exit_code == BAD_USAGE:
                    raise
            else:
                failures = 0
                if (enode := child.facts.get("enode")) != before:
                    self._say(f"{child.plan.name} listens elsewhere now: {enode}")


async def _all_or_first_failure(waits: Iterable[Coroutine[Any, Any, object]]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_ended(children: Iterable[Child], patience_s: float) -> None:
    waits = [asyncio.ensure_future(child.wait_end()) for child in children if child.is_running]
    if waits:
        await asyncio.wait(waits, timeout=max(0.0, patience_s))
    for wait in waits:
        wait.cancel()


def _describe_end(child: Child, code: int) -> str:
    if code >= 0:
        return f"ended with code {code}: {child.last_line()}" if code == FAILED else f"ended with code {code}"
    if -code in MEMORY_FAULTS:
        name = signal.Signals(-code).name
        return f"was killed by {name}, as happens when its store is damaged; `trisync verify` tells"
    return f"was killed by signal {-code}"
