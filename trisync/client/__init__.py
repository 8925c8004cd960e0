"""The client of a coordinator's operator API.

In a script, or with threads:

    with Coordinator("127.0.0.1:7450") as node:
        print(node.status().head.number)
        for step in node.follow_blocks(0):
            ...

With asyncio, the same methods and results:

    async with AsyncCoordinator("127.0.0.1:7450") as node:
        print((await node.status()).head.number)
        async for step in node.follow_blocks(0):
            ...

A coordinator on another machine is shown who asks: `Coordinator(address, Credentials(tls_ca=…, …))`.

The values that come back are in `trisync.node_status`, `trisync.block_feed`, `trisync.blocks`,
`trisync.transactions`, `trisync.disconnects` and `trisync.sync_explained`; those of the block feed are here too.
"""

from __future__ import annotations

from trisync.block_feed import Apply, Step, Undo
from trisync.client.async_connection import AsyncFollowedChain, AsyncStream
from trisync.client.async_coordinator import AsyncCoordinator
from trisync.client.connection import FollowedChain, Stream
from trisync.client.coordinator import Coordinator
from trisync.client.errors import CoordinatorError
from trisync.credentials import Credentials, CredentialsBad

__all__ = [
    "Apply",
    "AsyncCoordinator",
    "AsyncFollowedChain",
    "AsyncStream",
    "Coordinator",
    "CoordinatorError",
    "Credentials",
    "CredentialsBad",
    "FollowedChain",
    "Step",
    "Stream",
    "Undo",
]
