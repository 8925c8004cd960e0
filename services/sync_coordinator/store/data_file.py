"""Cheap checks of an LMDB data file before it is mapped.

LMDB trusts its file: reading a page that is cut off or overwritten can end the whole process. So the
parts that every open reads are looked at here first, with plain file reads: both meta pages, the
length the newer one promises, and the root page of every table. Layout: `mdb.c` of LMDB 0.9, 64 bit.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from lmdb.verify import VerifyError, verify

from services.sync_coordinator.store.chain_store import StoreRefused

_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_PAGE = struct.Struct(_ORDER + "QHHHH")
"""Page header: page number, unused, flags, lower bound, upper bound."""
_TABLE = struct.Struct(_ORDER + "IHHQQQQQ")
"""Table record: page size or unused, flags, depth, branch, leaf and overflow pages, entries, root page."""
_META_HEAD = struct.Struct(_ORDER + "IIQQ")
"""Magic, format version, address, map size."""
_META_TAIL = struct.Struct(_ORDER + "QQ")
"""Last page, transaction id."""

_MAGIC: Final = 0xBEEFC0DE
_FORMAT: Final = 1
_BRANCH, _LEAF, _META = 0x01, 0x02, 0x08
_SUB_TABLE: Final = 0x02
_NO_PAGE: Final = (1 << 64) - 1
_NODE_HEAD_BYTES: Final = 8
WHAT_TO_DO: Final = "put a copy back, or remove the directory to sync again"

MAX_TABLES_DEPTH: Final = 2
"""The list of tables is a few entries; a deeper tree there is not one of ours."""


class _Meta(NamedTuple):
    page_bytes: int
    main_root: int
    last_page: int
    transaction: int


def check_data_file(path: Path) -> None:
    """Raises StoreRefused when the LMDB file at `path` is cut off, overwritten or not LMDB's."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return
        first = _read_meta(file.fileno(), 0, path)
        second = _read_meta(file.fileno(), first.page_bytes, path)
        if second.page_bytes != first.page_bytes:
            raise damaged(path, "its two meta pages disagree")
        if abs(first.transaction - second.transaction) != 1 and first.transaction + second.transaction:
            raise damaged(path, "its two meta pages are not of two commits in a row")
        meta = max(first, second, key=lambda one: one.transaction)
        missing = (meta.last_page + 1) * meta.page_bytes - size
        if missing > 0:
            _check_whole(path, f"it is cut off, {missing} bytes are missing")
        for root in _table_roots(file.fileno(), meta, path):
            _read_page(file.fileno(), meta, root, path)


def damaged(path: Path, problem: str) -> StoreRefused:
    """The one line of a damaged store."""
    return StoreRefused(f"{path}: the store is damaged: {problem}; {WHAT_TO_DO}")


def check_structure(path: Path) -> list[str]:
    """Everything wrong with the pages of the LMDB file at `path`. Nobody may write it meanwhile."""
    try:
        return [str(problem) for problem in verify(str(path), False)]  # type: ignore[no-untyped-call]
    except VerifyError as error:
        return [str(error)]


def _check_whole(path: Path, problem: str) -> None:
    """LMDB may leave free pages at the end unwritten, so a short file is damaged only if a used page is gone."""
    if check_structure(path):
        raise damaged(path, problem)


def _read_meta(descriptor: int, offset: int, path: Path) -> _Meta:
    size = _PAGE.size + _META_HEAD.size + 2 * _TABLE.size + _META_TAIL.size
    raw = os.pread(descriptor, size, offset)
    if len(raw) < size:
        raise damaged(path, "it is shorter than its two meta pages")
    flags = _PAGE.unpack_from(raw)[2]
    magic, version, _, _ = _META_HEAD.unpack_from(raw, _PAGE.size)
    if magic != _MAGIC or not flags & _META:
        raise damaged(path, "it is not an LMDB file of this machine's kind")
    if version != _FORMAT:
        raise damaged(path, f"its LMDB format is {version}, {_FORMAT} is known")
    tables = _PAGE.size + _META_HEAD.size
    page_bytes = _TABLE.unpack_from(raw, tables)[0]
    if page_bytes not in {256 << shift for shift in range(9)}:
        raise damaged(path, f"its page size of {page_bytes} bytes is not possible")
    last_page, transaction = _META_TAIL.unpack_from(raw, tables + 2 * _TABLE.size)
    return _Meta(page_bytes, _TABLE.unpack_from(raw, tables + _TABLE.size)[7], last_page, transaction)


def _table_roots(descriptor: int, meta: _Meta, path: Path) -> Iterator[int]:
    """Root pages of the tables that the main tree lists."""
    pages = [] if meta.main_root == _NO_PAGE else [(meta.main_root, 1)]
    while pages:
        number, depth = pages.pop()
        page = _read_page(descriptor, meta, number, path)
        is_leaf = bool(_PAGE.unpack_from(page)[2] & _LEAF)
        if not is_leaf and depth > MAX_TABLES_DEPTH:
            raise damaged(path, "its list of tables is not ours")
        for low, high, flags, start in _nodes(page, path):
            if not is_leaf:
                pages.append((low | high << 16 | flags << 32, depth + 1))
            elif flags & _SUB_TABLE and start + _TABLE.size <= len(page):
                root = _TABLE.unpack_from(page, start)[7]
                if root != _NO_PAGE:
                    yield root


def _nodes(page: bytes, path: Path) -> Iterator[tuple[int, int, int, int]]:
    """(low, high, flags, offset of the value) of each node in a page of the main tree."""
    lower = _PAGE.unpack_from(page)[3]
    for at in range(_PAGE.size, min(lower, len(page)), 2):
        (offset,) = struct.unpack_from(_ORDER + "H", page, at)
        if offset + _NODE_HEAD_BYTES > len(page):
            raise damaged(path, "its list of tables is overwritten")
        low, high, flags, key_bytes = struct.unpack_from(_ORDER + "HHHH", page, offset)
        yield low, high, flags, offset + _NODE_HEAD_BYTES + key_bytes


def _read_page(descriptor: int, meta: _Meta, number: int, path: Path) -> bytes:
    """A branch or leaf page, which must name itself."""
    if number > meta.last_page:
        raise damaged(path, f"it points to page {number}, the last one is {meta.last_page}")
    page = os.pread(descriptor, meta.page_bytes, number * meta.page_bytes)
    if len(page) < meta.page_bytes:
        raise damaged(path, f"page {number} is cut off")
    own_number, _, flags, lower, upper = _PAGE.unpack_from(page)
    if own_number != number or flags not in (_BRANCH, _LEAF) or not _PAGE.size <= lower <= upper <= len(page):
        raise damaged(path, f"page {number} is overwritten")
    return page
