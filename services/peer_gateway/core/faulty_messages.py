"""What is wrong with a message of a peer, in the few words that an operator watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.shared.ethwire.offences import Offence

OVERSIZE: Final = "oversize"

FAULT_OF: Final[Mapping[Offence, str]] = {
    Offence.HANDSHAKE_UNDECODABLE: "undecodable",
    Offence.FRAME_CORRUPT: "undecodable",
    Offence.COMPRESSION_CORRUPT: "undecodable",
    Offence.BASE_MESSAGE_UNDECODABLE: "undecodable",
    Offence.ETH_MESSAGE_UNDECODABLE: "undecodable",
    Offence.FRAME_OVERSIZED: OVERSIZE,
    Offence.BASE_MESSAGE_OVERSIZED: OVERSIZE,
    Offence.ETH_MESSAGE_OVERSIZED: OVERSIZE,
    Offence.CODE_OUT_OF_RANGE: "unknown_code",
    Offence.ETH_CODE_UNKNOWN: "unknown_code",
    Offence.STATUS_MISSING: "out_of_place",
    Offence.SECOND_STATUS: "out_of_place",
    Offence.UNASKED_REPLY: "unasked",
    Offence.REPLY_MISMATCH: "mismatch",
    Offence.BLOCK_BODY_MISMATCH: "mismatch",
}
"""Other offences are not about one message."""

MESSAGE_FAULTS: Final = tuple(dict.fromkeys(FAULT_OF.values()))
