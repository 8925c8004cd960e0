from __future__ import annotations

import grpc
import pytest

from services.shared.rpc.errors import STATUS_OF, RpcError, UnknownBlock, status_of
from services.shared.runtime.faults import CannotContinue


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
