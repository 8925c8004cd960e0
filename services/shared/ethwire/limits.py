"""Sizes and counts that both sides of the wire agree on, each with its reason."""

from __future__ import annotations

from typing import Final

MAX_ETH_MESSAGE_BYTES: Final = 10 * 1024 * 1024
"""A larger eth message drops the peer (geth `ProtocolMaxMsgSize`)."""

MAX_HEADERS_PER_REPLY: Final = 192
"""Known clients never send more headers at once (geth `MaxHeaderFetch`)."""

MAX_BODIES_PER_REPLY: Final = 128
"""Known clients never send more bodies at once (geth `MaxBlockFetch`)."""

MAX_RECEIPTS_PER_REPLY: Final = 256
"""Known clients never send the receipts of more blocks at once (geth `MaxReceiptFetch`)."""

MAX_NODE_DATA_PER_REPLY: Final = 384
"""Known clients never send more state entries at once (geth `MaxStateFetch`)."""

SOFT_REPLY_BYTES: Final = 2 * 1024 * 1024
"""A reply stops growing once it is this large (geth `softResponseLimit`)."""

ESTIMATED_HEADER_BYTES: Final = 500
"""What one header counts toward the soft limit (geth `estHeaderRlpSize`)."""

MAX_NON_CANONICAL_STEPS: Final = 100
"""Ancestors walked off the canonical chain for one request, so that a reply costs a bounded number of reads."""
