"""Roots of Merkle-Patricia tries (Yellow Paper, appendix D), built once and never updated.

Transactions, receipts: an ordered list keyed by the RLP of each index. The shape of such a trie
depends on the count alone, so it is planned once per count and then only filled with values: this
makes a 100-item root about 25 times faster than a general trie. Whoever must not be held up by a huge
list takes the root in steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

import sha3

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.rlp_slices import encode_length, encode_string, encode_uint

_keccak = sha3.keccak_256

CACHED_PLANS: Final = 512
"""Counts up to this keep their plan, all together about 16 MB; a larger trie is planned each time."""

STEP_COST: Final = 192 * 1024
"""Work of one step, counted in bytes hashed: about a millisecond."""

NODE_COST: Final = 256
"""What a node of a trie costs beside the bytes of its value, in the same unit."""

PLAN_COST: Final = 64
"""What a node costs while its trie is being planned, in the same unit."""

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work in steps: others may run whenever it yields; its result is the generator's."""

_NOTHING: Final = b"\x80"
"""A branch's reference to a child, or value, that is not there."""

_NOTHING_AT: Final = 0
_FIRST_VALUE_AT: Final = 1


class WorkMeter:
    """Counts the work since others last ran, over any number of roots and hashes."""

    def __init__(self) -> None:
        self._spent = 0

    def is_due(self, cost: int) -> bool:
        """Whether it is time to yield, `cost` included; the count then starts anew."""
        self._spent += cost
        if self._spent < STEP_COST:
            return False
        self._spent = 0
        return True


def finish(steps: Steps[T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class _ValuePlan(NamedTuple):
    """Where a value goes: into a leaf with this encoded path, or with None straight into its branch."""

    path: bytes | None
    value_at: int


class _InnerPlan(NamedTuple):
    """A branch or an extension: `head`, then the references that `pick` takes from all made so far."""

    head: bytes
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]


class _TriePlan(NamedTuple):
    """The nodes in the order they are made, so that each finds what it refers to.

    References are numbered: `_NOTHING`, then the values in the order of their keys, then the inner nodes.
    """

    values: Sequence[_ValuePlan]
    inner: Sequence[_InnerPlan]


def ordered_trie_root(values: Sequence[bytes]) -> bytes:
    """Root of the trie that maps rlp(i) to values[i]: a transactions or receipts root."""
    if not values:
        return EMPTY_TRIE_ROOT
    count = len(values)
    plan = _cached_plan(count) if count <= CACHED_PLANS else finish(_ordered_plan(count, WorkMeter()))
    return _root(plan, values)


def ordered_trie_root_steps(values: Sequence[bytes], meter: WorkMeter) -> Steps[bytes]:
    """`ordered_trie_root`, which the result is, in steps."""
    count = len(values)
    cost = sum(map(len, values)) + count * NODE_COST
    if count <= CACHED_PLANS and cost <= STEP_COST:
        if meter.is_due(cost):
            yield
        return ordered_trie_root(values)
    if meter.is_due(count * PLAN_COST):
        # For what it took to find the values.
        yield
    plan = _cached_plan(count) if count <= CACHED_PLANS else (yield from _ordered_plan(count, meter))
    references, encoded = [_NOTHING], b""
    for value_plan in plan.values:
        size = len(values[value_plan.value_at])
        if meter.is_due(size + NODE_COST):
            yield
        if size <= STEP_COST or value_plan.path is None:
            encoded = _add_values(references, (value_plan,), values)
        else:
            encoded = _leaf_head(value_plan.path, size) + values[value_plan.value_at]
            references.append(b"\xa0" + (yield from keccak_steps(encoded, meter)))
    for inner_plan in plan.inner:
        if meter.is_due(NODE_COST):
            yield
        encoded = _add_inner(references, (inner_plan,))
    return keccak256(encoded)


def keccak_steps(content: bytes, meter: WorkMeter) -> Steps[bytes]:
    """The Keccak-256 of `content`, in steps."""
    if len(content) <= STEP_COST:
        if meter.is_due(len(content)):
            yield
        return keccak256(content)
    state, view = _keccak(), memoryview(content)
    for start in range(0, len(content), STEP_COST):
        state.update(view[start : start + STEP_COST])
        yield
    digest: bytes = state.digest()
    return digest


def trie_root(entries: Mapping[bytes, bytes]) -> bytes:
    """Root of the trie with these keys and (non-empty) values, as used for state and storage."""
    if not entries:
        return EMPTY_TRIE_ROOT
    keys = list(entries)
    plan = finish(_Planner(sorted((key.hex(), index) for index, key in enumerate(keys))).plan(WorkMeter()))
    return _root(plan, [entries[key] for key in keys])


def _ordered_plan(count: int, meter: WorkMeter) -> Steps[_TriePlan]:
    entries = sorted((encode_uint(index).hex(), index) for index in range(count))
    if meter.is_due(count * PLAN_COST):
        yield
    planner = _Planner(entries)
    if meter.is_due(count * PLAN_COST):
        yield
    return (yield from planner.plan(meter))


@functools.lru_cache(maxsize=CACHED_PLANS)
def _cached_plan(count: int) -> _TriePlan:
    return finish(_ordered_plan(count, WorkMeter()))


class _Planner:
    """Lays out the trie of `entries`: (key in hex digits, index of its value), sorted by key."""

    def __init__(self, entries: list[tuple[str, int]]) -> None:
        self._entries = entries
        self._values = [_ValuePlan(None, index) for _, index in entries]
        self._inner: list[_InnerPlan] = []

    def plan(self, meter: WorkMeter) -> Steps[_TriePlan]:
        yield from self._place(0, len(self._entries), 0, meter)
        return _TriePlan(tuple(self._values), tuple(self._inner))

    def _place(self, start: int, end: int, depth: int, meter: WorkMeter) -> Steps[int]:
        """Plan the node for the entries from `start` to `end`, alike up to `depth`; its reference's number."""
        first, last = self._entries[start][0], self._entries[end - 1][0]
        if end - start == 1:
            path = _encode_path(first[depth:], is_leaf=True)
            self._values[start] = self._values[start]._replace(path=path)
            return _FIRST_VALUE_AT + start
        shared = depth
        while shared < len(first) and first[shared] == last[shared]:
            shared += 1
        if shared > depth:
            child = yield from self._place(start, end, shared, meter)
            return self._add(_encode_path(first[depth:shared], is_leaf=False), itemgetter(slice(child, child + 1)))
        return (yield from self._place_branch(start, end, depth, meter))

    def _place_branch(self, start: int, end: int, depth: int, meter: WorkMeter) -> Steps[int]:
        references = [_NOTHING_AT] * 17
        if len(self._entries[start][0]) == depth:
            references[16] = _FIRST_VALUE_AT + start
            start += 1
        while start < end:
            digit = self._entries[start][0][depth]
            stop = start + 1
            while stop < end and self._entries[stop][0][depth] == digit:
                stop += 1
            references[int(digit, 16)] = yield from self._place(start, stop, depth + 1, meter)
            start = stop
        if meter.is_due(16 * NODE_COST):
            yield
        return self._add(b"", itemgetter(*references))

    def _add(self, head: bytes, pick: Callable[[Sequence[bytes]], Sequence[bytes]]) -> int:
        self._inner.append(_InnerPlan(head, pick))
        return _FIRST_VALUE_AT + len(self._values) + len(self._inner) - 1


def _encode_path(digits: str, *, is_leaf: bool) -> bytes:
    """Hex-prefix encoding (appendix C), already wrapped as an RLP string."""
    flag = 2 if is_leaf else 0
    if len(digits) % 2:
        return encode_string(bytes.fromhex(f"{flag + 1:x}{digits}"))
    return encode_string(bytes.fromhex(f"{flag:x}0{digits}"))


def _root(plan: _TriePlan, values: Sequence[bytes]) -> bytes:
    references = [_NOTHING]
    encoded = _add_values(references, plan.values, values)
    return keccak256(_add_inner(references, plan.inner) or encoded)


# Both add the references of some nodes to those made so far, and give the last node's encoding. A node
# under 32 bytes is its own reference, any other's is its hash.


def _add_values(references: list[bytes], plans: Sequence[_ValuePlan], values: Sequence[bytes]) -> bytes:
    encoded = b""
    for path, value_at in plans:
        value = values[value_at]
        if path is None:
            references.append(encode_string(value))
            continue
        encoded = _leaf_head(path, len(value)) + value if len(value) > 1 else _encode_small_leaf(path, value)
        references.append(encoded if len(encoded) < 32 else b"\xa0" + _keccak(encoded).digest())
    return encoded


def _add_inner(references: list[bytes], plans: Sequence[_InnerPlan]) -> bytes:
    encoded = b""
    for head, pick in plans:
        payload = head + b"".join(pick(references))
        encoded = encode_length(len(payload), 0xC0) + payload
        references.append(encoded if len(encoded) < 32 else b"\xa0" + _keccak(encoded).digest())
    return encoded


@functools.lru_cache(maxsize=4096)
def _leaf_head(path: bytes, size: int) -> bytes:
    """What stands before a value of `size` bytes, more than one, in its leaf; sizes repeat from block to block."""
    head = path + encode_length(size, 0x80)
    return encode_length(len(head) + size, 0xC0) + head


def _encode_small_leaf(path: bytes, value: bytes) -> bytes:
    payload = path + encode_string(value)
    return encode_length(len(payload), 0xC0) + payload
