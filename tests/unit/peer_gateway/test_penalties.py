from __future__ import annotations

import pytest

from services.peer_gateway.core.penalties import REASON_OF, Cause
from services.shared.ethwire.eth_messages import MessageTooLarge, UnknownMessageCode
from services.shared.ethwire.faults import DisconnectReason, MalformedMessage, MalformedRlp


def test_every_cause_has_a_reason():
    assert set(REASON_OF) == set(Cause)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (MalformedRlp, Cause.ETH_MESSAGE_UNDECODABLE),
        (MalformedMessage, Cause.ETH_MESSAGE_UNDECODABLE),
        (UnknownMessageCode, Cause.ETH_MESSAGE_UNDECODABLE),
        (MessageTooLarge, Cause.ETH_MESSAGE_OVERSIZED),
    ],
)
def test_the_faults_of_the_eth_codec_agree_with_the_table(fault, cause):
    assert fault.disconnect_reason is REASON_OF[cause]


def test_only_the_p2p_version_is_never_a_reason_to_leave():
    assert set(DisconnectReason) - set(REASON_OF.values()) == {DisconnectReason.INCOMPATIBLE_P2P_VERSION}
