from __future__ import annotations

import pytest

from services.peer_gateway.core.phases import (
    NEXT_ETH_PHASE,
    NEXT_PHASE,
    EthPhase,
    Phase,
    Received,
    UnexpectedMessage,
    advance,
)
from services.shared.ethwire.faults import DisconnectReason


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("received", Received)
def test_every_phase_and_message_pair_is_decided(phase, received):
    if (phase, received) in NEXT_PHASE:
        assert advance(phase, received) is NEXT_PHASE[phase, received]
    else:
        with pytest.raises(UnexpectedMessage) as raised:
            advance(phase, received, 0x42)
        assert (raised.value.phase, raised.value.received, raised.value.code) == (phase, received, 0x42)
        assert raised.value.disconnect_reason is DisconnectReason.BREACH_OF_PROTOCOL


def test_nothing_leads_out_of_closed():
    assert all(phase is not Phase.CLOSED for phase, _ in NEXT_PHASE)


def test_every_phase_can_be_reached_or_is_a_start():
    assert set(NEXT_PHASE.values()) | {Phase.AUTH, Phase.ACK} == set(Phase)
    assert set(NEXT_ETH_PHASE.values()) | {EthPhase.STATUS} == set(EthPhase)
