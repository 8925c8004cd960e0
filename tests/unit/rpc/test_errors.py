from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.shared.rpc.error_details import DETAILS_KEY, DOMAIN, MOST_VALUE_CHARS
from services.shared.rpc.errors import (
    MEANING_OF,
    STATUS_OF,
    InvalidRequest,
    LimitReached,
    RpcError,
    UnknownBlock,
    meaning_of,
    status_of,
    trailer_of,
)
from services.shared.runtime.faults import CannotContinue
from trisync.error_reason import reason_of


class NoSuchUncle(UnknownBlock):
    """A child of an error in the table."""


@pytest.mark.parametrize("kind", STATUS_OF)
def test_every_error_of_the_table_is_ours_and_has_its_status(kind: type[Exception]):
    assert issubclass(kind, RpcError | CannotContinue)
    assert status_of(kind("why")) is STATUS_OF[kind]


def test_child_has_the_status_of_its_parent():
    assert status_of(NoSuchUncle("why")) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("bug", [ValueError("x"), RpcError("not in the table"), KeyError(1)])
def test_bug_has_no_status(bug: Exception):
    assert status_of(bug) is None


def every_error() -> list[type[Exception]]:
    """RpcError's children, of all services, and what the table has beside them."""
    found: list[type[Exception]] = [CannotContinue]
    waiting: list[type[Exception]] = [*RpcError.__subclasses__()]
    while waiting:
        kind = waiting.pop()
        if kind.__module__.startswith("services."):
            found.append(kind)
        waiting += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_and_a_reason_of_its_own(kind: type[Exception]):
    meaning = meaning_of(kind("why"))
    assert meaning is not None
    assert re.fullmatch("[A-Z][A-Z0-9_]+", meaning.reason)
    assert [other for other, one in MEANING_OF.items() if one.reason == meaning.reason] == [kind]


def details_of(error: Exception) -> status_pb2.Status:
    meaning = meaning_of(error)
    assert meaning is not None
    ((key, value),) = trailer_of(error, meaning)
    assert key == DETAILS_KEY
    return status_pb2.Status.FromString(value)


def unpacked(error: Exception, kind: type) -> list[Any]:
    found = []
    for detail in details_of(error).details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def test_details_name_field_value_and_rule():
    error = InvalidRequest("a sender has 20 bytes, not 3", field="sender", value="3 bytes", rule="20 bytes")
    status = details_of(error)
    assert (status.code, status.message) == (3, "a sender has 20 bytes, not 3")
    (info,) = unpacked(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_REQUEST", DOMAIN)
    assert dict(info.metadata) == {"field": "sender", "value": "3 bytes", "rule": "20 bytes"}
    (bad,) = unpacked(error, error_details_pb2.BadRequest)
    assert [violation.field for violation in bad.field_violations] == ["sender"]
    assert unpacked(error, error_details_pb2.RetryInfo) == []


def test_details_say_when_waiting_helps():
    error = LimitReached("too many", reason="TOO_MANY_STREAMS")
    (retry,) = unpacked(error, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1000
    error.retry_after_s = 2.5
    (retry,) = unpacked(error, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 2500


def test_what_a_client_sent_is_told_back_in_part_only():
    error = InvalidRequest("x" * 100_000, field="enode", value="y" * 100_000)
    assert len(details_of(error).SerializeToString()) < 4 * MOST_VALUE_CHARS


def test_client_reads_the_reason_and_survives_what_is_none():
    meaning = meaning_of(UnknownBlock("no"))
    assert meaning is not None
    trailer = trailer_of(UnknownBlock("no"), meaning)
    assert reason_of([("other", "x"), *trailer]) == "UNKNOWN_BLOCK"
    assert reason_of([(DETAILS_KEY, b"\xff\xff")]) == ""
    assert reason_of([]) == reason_of(None) == ""
