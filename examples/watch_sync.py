"""Watch a node sync: one line for each change, until it has the best peer's head.

python examples/watch_sync.py --coordinator 127.0.0.1:7450
"""

from __future__ import annotations

import argparse
import sys

from trisync.client import Coordinator, CoordinatorError
from trisync.node_status import NodeStatus


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch a node sync, until it has the best peer's head.")
    parser.add_argument("--coordinator", default="127.0.0.1:7450", metavar="ADDRESS", help="host:port or unix:/path")
    parser.add_argument("--forever", action="store_true", help="go on when the head is reached")
    options = parser.parse_args()
    try:
        with Coordinator(options.coordinator) as node:
            watch(node, forever=options.forever)
    except CoordinatorError as error:
        print(f"watch_sync: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def watch(node: Coordinator, *, forever: bool) -> None:
    """The stream has the status at once and after each change, at most four times a second."""
    for status in node.watch_status():
        print(line_of(status), flush=True)
        if status.at_best_peer_head and not forever:
            print(f"at the best peer's head: block {status.head.number} 0x{status.head.block_hash.hex()}")
            return


def line_of(status: NodeStatus) -> str:
    progress = status.progress
    parts = [f"{status.phase.value:<8}", f"block {status.head.number}", f"peers {status.peer_count}"]
    if progress.highest_block > status.head.number:
        parts.append(f"of {progress.highest_block}")
    if status.sync_seconds > 0:
        parts.append(f"{status.blocks_synced / status.sync_seconds:.0f} blocks/s")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
