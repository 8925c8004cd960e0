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

MAX_ITEMS_PER_REPLY: Final = 1024
"""Items of any reply that are decoded. Known clients stay far below; ten million empty ones in one message
would keep the event loop for seconds."""

MAX_HASHES_READ: Final = 1024
"""Hashes of one question that are looked at, as known clients read no further than their answer grows; 10 MiB
of hashes would keep the event loop for 40 ms. More than any answer may have items."""

MAX_ANNOUNCES_PER_MESSAGE: Final = 4096
"""Hashes one NewBlockHashes may carry; known clients announce a few."""

MAX_TRANSACTIONS_READ: Final = 4096
"""Transactions of one message that are looked at: as many as our whole pool holds. 10 MiB of small ones, which take
half a megabyte on the wire, would keep the event loop for 150 ms."""

MAX_TRANSACTION_BYTES: Final = 32 * 1024
"""A larger one is not relayed by known clients (geth `ErrOversizedData`)."""

MAX_TRANSACTIONS_PER_BODY: Final = 32_768
"""Transactions a block may have: more than 680 million gas of plain transfers. Its root takes half a second."""
