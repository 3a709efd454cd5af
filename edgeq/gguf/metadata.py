"""Metadata of a GGUF file: a read-only mapping that keeps types and bytes, so that a copy loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Value(NamedTuple):
    """A metadata value with the type it has in the file: "u8" … "f64", "bool", "string", "array[u8]" ….

    `value` given as bytes is taken as the file would hold it (of a string: its bytes, without the length).
    """

    type: str
    value: Any


class Metadata(Mapping[str, Any]):
    """Keys in the order of the file. Values are int, float, bool, str, StringArray or NumberArray.

    Strings that are not UTF-8 come with surrogate escapes; escape them before showing them to anyone.
    """

    __slots__ = ("_raws", "_types", "_values")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._raws: dict[str, bytes] = {}

    def _put(self, key: str, type: str, value: Any, raw: bytes) -> None:
        self._values[key] = value
        self._types[key] = type
        self._raws[key] = raw

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Metadata of {len(self)} keys>"

    def type(self, key: str) -> str:
        """The GGUF type of `key`: "u32", "string", "array[string]" …; KeyError if the key is missing."""
        return self._types[key]

    def raw(self, key: str) -> bytes:
        """The value's bytes in the file; a string's without its length, an array's without type and count."""
        return self._raws[key]

    def typed(self) -> dict[str, Value]:
        """All entries with types and exact bytes, ready to change and to hand to a Writer."""
        return {
            key: Value(kind, self._values[key] if kind.startswith("array") else self._raws[key])
            for key, kind in self._types.items()
        }
