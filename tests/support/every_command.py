"""What each command is given in tests of all commands."""

from __future__ import annotations

from tests.support.transactions import Draft
from tests.support.wire import local_node
from trisync.cli.command_list import COMMANDS, SERVICE, SHELL, Listed

ENODE = f"enode://{local_node('alice').node_id.hex()}@127.0.0.1:30303"

ASKING = [listed for listed in COMMANDS if listed.rpcs]
"""Those that ask a running node."""

PRINTING = [listed for listed in COMMANDS if not listed.reads_own_flags and listed.group != SHELL]

CONFIGURED = [listed for listed in COMMANDS if listed.group not in (SERVICE, SHELL)]

_GIVEN = {
    **{name: ["46"] for name in ("block", "header", "receipts", "hash")},
    **{name: [ENODE] for name in ("add-peer", "remove-peer", "add-trusted-peer", "remove-trusted-peer", "doctor")},
    "submit-tx": [Draft().raw().hex()],
    "submit-block": [bytes(1000).hex()],
    "watch-tx": ["ab" * 32],
    "pool": ["--content"],
    "import": ["some.rlp"],
    "export": ["some.rlp"],
    "health": ["127.0.0.1:1"],
}


def arguments(listed: Listed) -> list[str]:
    return _GIVEN.get(listed.name, [])
