"""Typed reads from a JSON object a person wrote; every complaint names the place, the value and the rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

_DECIMAL: Final = re.compile("[0-9]{1,100}")
_HEX: Final = re.compile("0[xX][0-9a-fA-F]{1,100}")


class GenesisInvalid(ValueError):
    """A genesis file that defines no chain we could follow."""

    def __init__(self, file: str, field: str, value: object, rule: str) -> None:
        try:
            text = repr(value)
        except RecursionError:
            text = "a value that is nested too deeply to show"
        shown = text if len(text) <= 80 else f"{text[:76]}…{text[-1]}"
        place = "".join([f": {field}" if field else "", f" = {shown}" if value is not None else ""])
        super().__init__(f"{file}{place}: {rule}")
        self.file, self.field, self.value, self.rule = file, field, value, rule


class JsonFields:
    """One JSON object, its keys matched without regard to case, as geth's own reader does.

    A field that is absent or null reads as the default.
    """

    def __init__(self, file: str, place: str, content: object) -> None:
        self._file, self._place = file, place
        if not isinstance(content, Mapping):
            raise GenesisInvalid(file, place, content, "must be a JSON object")
        self._content: dict[str, object] = {}
        for key, value in content.items():
            if key.lower() in self._content:
                raise GenesisInvalid(file, self._path(key), value, "is given twice")
            self._content[key.lower()] = value

    def __contains__(self, key: str) -> bool:
        return self._content.get(key.lower()) is not None

    def items(self) -> Iterable[tuple[str, object]]:
        """The fields with their keys in lower case."""
        return self._content.items()

    def __iter__(self) -> Iterator[str]:
        """The keys in lower case."""
        return iter(self._content)

    def fault(self, key: str, rule: str) -> GenesisInvalid:
        """The error to raise when this field breaks `rule`."""
        return GenesisInvalid(self._file, self._path(key), self._content.get(key.lower()), rule)

    def require(self, *keys: str) -> None:
        for key in keys:
            if key not in self:
                raise self.fault(key, "is required")

    def section(self, key: str) -> JsonFields:
        """The object at `key`; an absent one is empty."""
        value = self._content.get(key.lower())
        return JsonFields(self._file, self._path(key), {} if value is None else value)

    def optional_uint(self, *keys: str, bits: int = 64) -> int | None:
        """The number under the first of `keys` that is there: a JSON integer, or a decimal or 0x text."""
        for key in keys:
            value = self._content.get(key.lower())
            if value is None:
                continue
            number = _to_int(value)
            if number is None or not 0 <= number < 1 << bits:
                raise self.fault(key, f"must be a decimal or 0x hex integer from 0 to 2^{bits} - 1")
            return number
        return None

    def uint(self, key: str, *, bits: int = 64, default: int = 0) -> int:
        number = self.optional_uint(key, bits=bits)
        return default if number is None else number

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._content.get(key.lower())
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(key, "must be true or false")
        return value

    def blob(self, key: str) -> bytes:
        """Bytes of any length as 0x hex; absent reads as empty."""
        value = self._content.get(key.lower())
        content = b"" if value is None else from_hex(value)
        if content is None:
            raise self.fault(key, "must be 0x and an even number of hex digits")
        return content

    def fixed(self, key: str, size: int) -> bytes:
        """Exactly `size` bytes as hex; absent reads as zeros."""
        value = self._content.get(key.lower())
        content = bytes(size) if value is None else from_hex(value)
        if content is None or len(content) != size:
            raise self.fault(key, f"must be {2 * size} hex digits")
        return content

    def text(self, key: str) -> str:
        value = self._content.get(key.lower())
        if not isinstance(value, str):
            raise self.fault(key, "must be a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; an absent one is empty."""
        value = self._content.get(key.lower())
        texts = [] if value is None else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self.fault(key, "must be a list of texts")
        return texts

    def _path(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place and key else self._place or key


def from_hex(value: object) -> bytes | None:
    """The bytes of a hex text with or without 0x, or None."""
    if not isinstance(value, str):
        return None
    digits = value[2:] if value[:2] in ("0x", "0X") else value
    if re.search("[^0-9a-fA-F]", digits) or len(digits) % 2:
        return None
    return bytes.fromhex(digits)


def _to_int(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if value == "" or _DECIMAL.fullmatch(value):
        return int(value or "0")
    return int(value, 16) if _HEX.fullmatch(value) else None
