"""Which client a peer says it is, as one word of a closed set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_FAMILY_OF: Final[Mapping[str, str]] = {
    "geth": "geth",
    "coregeth": "core-geth",
    "core-geth": "core-geth",
    "parity": "parity",
    "parity-ethereum": "parity",
    "openethereum": "parity",
    "besu": "besu",
    "pantheon": "besu",
    "nethermind": "nethermind",
    "erigon": "erigon",
    "turbogeth": "erigon",
    "turbo-geth": "erigon",
    "ethereumjs": "ethereumjs",
    "ethereumjs-devp2p": "ethereumjs",
    "trisync": "trisync",
}
"""By the first part of the name in Hello, in lower case. OpenEthereum went on from Parity, Besu from Pantheon and
Erigon from turbo-geth."""

OTHER_CLIENT: Final = "other"

CLIENT_FAMILIES: Final = (*dict.fromkeys(_FAMILY_OF.values()), OTHER_CLIENT)


def client_family(client_name: str) -> str:
    """Of a name such as `Geth/v1.8.27-stable/linux-amd64/go1.11`; the peer may say what it likes."""
    first = client_name.partition("/")[0].strip().lower()
    return _FAMILY_OF.get(first, OTHER_CLIENT)
