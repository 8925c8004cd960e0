"""The two clients are one to whoever reads them: the same methods, arguments, results and words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from trisync.client import async_coordinator, coordinator
from trisync.client.async_connection import AsyncFollowedChain, AsyncStream
from trisync.client.connection import FollowedChain, Stream

PAIRS = [
    (coordinator.Coordinator, async_coordinator.AsyncCoordinator),
    (coordinator.Blocks, async_coordinator.AsyncBlocks),
    (coordinator.Transactions, async_coordinator.AsyncTransactions),
]


def methods_of(client: type) -> dict[str, Callable[..., object]]:
    return {name: method for name, method in vars(client).items() if inspect.isfunction(method) and name[0] != "_"}


def shape_of(method: Callable[..., object]) -> tuple[list[str], str]:
    signature = inspect.signature(method)
    returned = re.sub(r"\bAsync(?=Stream|Iterator|FollowedChain)", "", str(signature.return_annotation))
    return [str(parameter) for parameter in signature.parameters.values()], returned


@pytest.mark.parametrize(("of_threads", "of_a_loop"), PAIRS)
def test_both_have_the_same_methods_with_the_same_arguments_results_and_docstrings(of_threads, of_a_loop):
    ours, theirs = methods_of(of_threads), methods_of(of_a_loop)
    assert list(ours) == list(theirs)
    for name, method in ours.items():
        assert shape_of(method) == shape_of(theirs[name]), name
        assert method.__doc__ == theirs[name].__doc__, name
        assert method.__doc__, f"{name} says nothing"


@pytest.mark.parametrize(("of_threads", "of_a_loop"), PAIRS)
def test_what_returns_one_answer_is_awaited_and_what_returns_many_is_iterated_over(of_threads, of_a_loop):
    for name, method in methods_of(of_a_loop).items():
        returned = str(inspect.signature(method).return_annotation)
        is_many = returned.startswith("Async")
        assert inspect.iscoroutinefunction(method) is not is_many, name
        assert not inspect.iscoroutinefunction(methods_of(of_threads)[name]), name


def test_streams_of_both_can_be_closed_and_used_in_a_with_statement():
    for of_threads, of_a_loop in ((Stream, AsyncStream), (FollowedChain, AsyncFollowedChain)):
        assert {"__iter__", "__next__", "__enter__", "__exit__", "close"} <= set(dir(of_threads))
        assert {"__aiter__", "__anext__", "__aenter__", "__aexit__", "aclose"} <= set(dir(of_a_loop))
