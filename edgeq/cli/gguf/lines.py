"""Metadata values, changes and tables as lines for people, and as JSON. What a file says is escaped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from edgeq.cli.terminal import Out
from edgeq.errors import shown
from edgeq.gguf import NumberArray, StringArray, Tensor, Value
from edgeq.gguf.editing import Change
from edgeq.gguf.values import plain

ELEMENTS = 6  # of an array, where it is not shown in full
CHARACTERS = 100  # of a string


def brief(type: str, value: Any, full: bool = False) -> str:
    """A value on one line: of long strings and arrays the beginning, unless it is wanted in full."""
    if isinstance(value, (StringArray, NumberArray)):
        n = len(value)
        part = plain(type, value if full else value[:ELEMENTS])
        inside = ", ".join(_word(type, v, full) for v in part)
        return f"[{inside}]" if full or n <= ELEMENTS else f"{n} elements: [{inside}, …]"
    if isinstance(value, str) and len(value) > CHARACTERS and not full:
        return f"{len(value)} characters: {_word(type, value, full)}"
    return _word(type, plain(type, value), full)


def _word(type: str, value: Any, full: bool = False) -> str:
    """A string in quotes, or a number or bool, of a value or array of `type`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if "string" not in type:
        return str(value)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown(quoted, max(1, 6 * len(quoted)) if full else CHARACTERS)}"'


def facts(type: str, value: Any, full: bool = True) -> dict[str, Any]:
    """A value as JSON types; of an array, unless it is wanted in full, length and first elements."""
    if isinstance(value, (StringArray, NumberArray)) and not full:
        return {"type": type, "length": len(value), "first": plain(type, value[:ELEMENTS])}
    return {"type": type, "value": plain(type, value)}


def change(c: Change) -> str:
    """A line for a key that changes: + new, - gone, ~ another value."""
    if c.old is None or c.new is None:
        entry = c.new or c.old
        assert entry is not None
        return f"{'-' if c.new is None else '+'} {_key(c.key)}: {entry.type} {brief(*entry)}"
    kinds = f"{c.old.type} → {c.new.type}" if c.old.type != c.new.type else c.old.type
    where = _first_difference(c.old, c.new)
    if where is not None:
        return f"~ {_key(c.key)}: {kinds}, {where}"
    return f"~ {_key(c.key)}: {kinds} {brief(*c.old)} → {brief(*c.new)}"


def _key(key: str) -> str:
    return shown(key, 100)


def _first_difference(old: Value, new: Value) -> str | None:
    """Where long strings or arrays part, with a little of both; None for short values."""
    if old.type != new.type or not hasattr(old.value, "__len__"):
        return None
    a, b = old.value, new.value
    few, what = (CHARACTERS, "character") if isinstance(a, str) else (ELEMENTS, "element")
    if max(len(a), len(b)) <= few:
        return None
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    end = at + (40 if isinstance(a, str) else 3)
    pieces = [_piece(old.type, v, at, end) for v in (a, b)]
    return f"{len(a)} → {len(b)} {what}s, from {what} {at} on: {pieces[0]} → {pieces[1]}"


def _piece(type: str, value: Any, at: int, end: int) -> str:
    if isinstance(value, str):
        return _word(type, value[at:end]) + ("…" if end < len(value) else "")
    inside = [_word(type, v) for v in plain(type, value[at:end])] + ["…"] * (end < len(value))
    return f"[{', '.join(inside)}]"


def change_facts(c: Change) -> dict[str, Any]:
    """A change as JSON types, long arrays not in full."""
    return {"key": c.key, "old": c.old and facts(*c.old, full=False), "new": c.new and facts(*c.new, full=False)}


def tensor_facts(t: Tensor) -> dict[str, Any]:
    return {"name": t.name, "type": t.format.name, "shape": list(t.shape), "bytes": t.nbytes, "part": t.part,
            "offset": t.offset}  # fmt: skip


def write_lines(lines: Iterable[str]) -> None:
    """Lines to stdout."""
    Out().write("".join(line + "\n" for line in lines))


def write_json(value: Any) -> None:
    """JSON to stdout; what is no UTF-8 in a file comes as escaped surrogates."""
    Out().write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_bytes(data: bytes) -> None:
    """Bytes to stdout as they are; on a terminal as text that gives it no orders."""
    out = Out()
    if out.terminal or not hasattr(out.stream, "buffer"):
        out.write(data.decode("utf-8", "replace"))
        out.end()
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
