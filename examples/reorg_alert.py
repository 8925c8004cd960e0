"""Tell of reorgs that are at least so many blocks deep.

    python examples/reorg_alert.py --depth 3 --coordinator 127.0.0.1:7450

A reorg comes as undo steps, newest block first, and then the new branch. Its depth is the number of blocks that left.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from trisync.client import Apply, AsyncCoordinator, CoordinatorError, Step, Undo

MEMORY_BLOCKS = 1000
"""So far below the head the feed is begun. A deeper reorg is told with this depth: what is below is not undone."""


@dataclass(frozen=True)
class Reorg:
    undone: list[Undo]
    first: Apply
    """The first block of the new branch."""

    def __str__(self) -> str:
        newest, ancestor = self.undone[0], self.undone[-1]
        return (
            f"reorg of {len(self.undone)} blocks: {ancestor.number} to {newest.number} 0x{newest.block_hash.hex()} "
            f"left the chain, which goes on with 0x{self.first.head.block_hash.hex()} "
            f"after block {ancestor.number - 1} 0x{ancestor.parent_hash.hex()}"
        )


async def reorgs(steps: AsyncIterator[Step]) -> AsyncIterator[Reorg]:
    undone: list[Undo] = []
    async for step in steps:
        if isinstance(step, Undo):
            undone.append(step)
        elif undone:
            yield Reorg(undone, step)
            undone = []


async def watch(options: argparse.Namespace) -> None:
    async with AsyncCoordinator(options.coordinator) as node:
        head = (await node.status()).head.number
        print(f"watching from block {head} on", flush=True)
        async for reorg in reorgs(node.follow_blocks(max(0, head - MEMORY_BLOCKS))):
            if len(reorg.undone) >= options.depth:
                print(reorg, flush=True)
                if options.once:
                    return


def main() -> int:
    parser = argparse.ArgumentParser(description="Tell of reorgs that are at least so many blocks deep.")
    parser.add_argument("--coordinator", default="127.0.0.1:7450", metavar="ADDRESS", help="host:port or unix:/path")
    parser.add_argument("--depth", type=int, default=3, metavar="BLOCKS", help="the least that is told (default 3)")
    parser.add_argument("--once", action="store_true", help="stop after the first that is told")
    options = parser.parse_args()
    try:
        asyncio.run(watch(options))
    except CoordinatorError as error:
        print(f"reorg_alert: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
