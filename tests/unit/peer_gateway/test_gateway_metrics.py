"""How a gateway puts peers and their messages into closed sets."""

from __future__ import annotations

import pytest
from blocksync.v1 import common_pb2
from prometheus_client import CollectorRegistry

from services.peer_gateway.core.client_family import CLIENT_FAMILIES, client_family
from services.peer_gateway.core.faulty_messages import FAULT_OF
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.messages import MessageCode
from services.shared.ethwire.offences import Offence


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Geth/v1.8.27-stable-4bcc0a37/linux-amd64/go1.10.4", "geth"),
        ("CoreGeth/v1.12.8-stable/linux-amd64/go1.19", "core-geth"),
        ("Parity-Ethereum//v2.5.5-stable-3ebc769-20190708/x86_64-linux-gnu/rustc1.36.0", "parity"),
        ("Parity/v1.11.11-stable-cb03f380ab-20180907/x86_64-linux-gnu/rustc1.28.0", "parity"),
        ("OpenEthereum/v3.0.1-stable-8ca8089-20200601/x86_64-unknown-linux-gnu/rustc1.43.1", "parity"),
        ("besu/v1.4.4/linux-x86_64/oracle_openjdk-java-11", "besu"),
        ("Nethermind/v1.8.58-1-b2dbde0a2-20200713/X64-Linux/3.1.5", "nethermind"),
        ("erigon/v2.48.1-stable/linux-amd64/go1.20", "erigon"),
        ("ethereumjs-devp2p/v2.5.1/linux-x64/nodejs", "ethereumjs"),
        ("trisync/v0.1.0/linux/python3.11.2", "trisync"),
        ("", "other"),
        ("geth with a hat/v1", "other"),
        ("\n0xmallory", "other"),
    ],
)
def test_a_client_is_told_by_the_first_part_of_its_name(name, family):
    assert client_family(name) == family
    assert family in CLIENT_FAMILIES


class Shown:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self._registry)

    def __call__(self, metric: str, /, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"peer_gateway_{metric}", labels)


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_peers_are_counted_by_direction_client_and_version(shown):
    alice = common_pb2.PeerDetails(inbound=True, client_name="Geth/v1.8.27", eth_version=63)
    shown.metrics.peers_like(alice).inc()
    assert shown("peers", direction="in", client="geth", version="63") == 1
    shown.metrics.peers_like(alice).dec()
    assert shown("peers", direction="in", client="geth", version="63") == 0


def test_messages_are_counted_with_their_bytes(shown):
    shown.metrics.count_read(MessageCode.NEW_BLOCK, 540)
    shown.metrics.count_read(MessageCode.NEW_BLOCK, 60)
    shown.metrics.count_queued(MessageCode.RECEIPTS, 9)
    assert shown("messages_total", direction="in", name="NewBlock") == 2
    assert shown("message_bytes_total", direction="in", name="NewBlock") == 600
    assert shown("message_bytes_total", direction="out", name="Receipts") == 9


def test_a_message_without_a_name_is_only_faulty(shown):
    shown.metrics.count_read(0x0B, 100)
    shown.metrics.offence(Offence.ETH_CODE_UNKNOWN)
    assert shown("faulty_messages_total", fault="unknown_code") == 1
    assert shown("offences_total", offence="eth_code_unknown") == 1


@pytest.mark.parametrize("offence", [Offence.TOO_MANY_PEERS, Offence.STALE_REPLY, Offence.SYNC_TIMEOUT])
def test_what_is_not_about_one_message_is_no_faulty_message(shown, offence):
    shown.metrics.offence(offence)
    assert sum([shown("faulty_messages_total", fault=fault) or 0 for fault in set(FAULT_OF.values())]) == 0


def test_each_undecodable_and_oversized_message_is_called_so():
    for offence in Offence:
        words = {"UNDECODABLE": "undecodable", "CORRUPT": "undecodable", "OVERSIZED": "oversize"}
        for word, fault in words.items():
            if word in offence.name:
                assert FAULT_OF[offence] == fault
