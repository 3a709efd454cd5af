"""Metadata values as text: what a person types becomes a Value, and values become what JSON can hold."""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

from edgeq.errors import UsageError, shown
from edgeq.gguf.arrays import NumberArray, StringArray
from edgeq.gguf.encode import infer
from edgeq.gguf.metadata import Value
from edgeq.gguf.types import CODES, TYPE_IDS, element_type

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}|0x[0-9a-fA-F]{1,16}", re.ASCII)
_JSON_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,29})", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_JSON_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_NO_NUMBERS = ("nan", "inf", "infinity")  # with a sign or without
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_ALIASES = {"str": "string", "int": "i32", "float": "f32", "double": "f64", "float32": "f32", "float64": "f64"} | {
    f"{'u' if sign else ''}int{bits}": f"{'u' if sign else 'i'}{bits}" for sign in (0, 1) for bits in (8, 16, 32, 64)
}


def type_name(text: str) -> str:
    """The GGUF type that `text` names: "u32", "string" or "str", "array[f32]" …. UsageError if it names none."""
    inner = element_type(text)
    kind = text if inner is None else inner
    kind = _ALIASES.get(kind, kind)
    if kind not in CODES and kind != "string":
        known = ", ".join(name for name in TYPE_IDS if name != "array")
        raise UsageError(f"type {shown(text, 60)}: unknown; expected {known}, or an array of one such as array[f32]")
    return kind if inner is None else f"array[{kind}]"


def from_text(key: str, text: str, type: str | None = None) -> Value:
    """The value that `text` spells, of GGUF type `type`. Arrays are JSON lists; a list for a number type or bool
    makes an array of it. UsageError if `text` is no such value.

    Without a type it is guessed as JSON reads it: true and false are bools; whole numbers u32, i32, i64 or u64,
    the first that fits; others f32; a list is an array; everything else is a string.
    """
    what = f"metadata key {shown(key)}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{what}: the value is not UTF-8") from None
    if type is None:
        return _guess(key, text)
    kind = type_name(type)
    inner = element_type(kind)
    if inner is None and kind != "string" and text.lstrip().startswith("["):
        inner, kind = kind, f"array[{kind}]"
    if inner is not None:
        return Value(kind, [_element(v, inner, what) for v in _list(text, what)])
    return Value(kind, text if kind == "string" else _scalar(text, kind, what))


def _guess(key: str, text: str) -> Value:
    if text in ("true", "false"):
        return Value("bool", text == "true")
    if _JSON_WHOLE.fullmatch(text):
        return infer(key, int(text))
    if len(text) < 400 and _JSON_FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return infer(key, float(text))
    if text.startswith("["):
        try:
            values = _list(text, key)
        except UsageError:  # "[INST] …"
            return Value("string", text)
        if not values:
            raise UsageError(f"metadata key {shown(key)}: an empty list has no type; give one: --type array[string] …")
        return infer(key, values)
    return Value("string", text)


def _list(text: str, what: str) -> list[Any]:
    try:
        found = json.loads(text, parse_float=lambda word: _finite(word, what))
    except UsageError:
        raise
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{what}: expected a JSON list, found {shown(text, 60)!r}: {shown(e, 80)}") from None
    if not isinstance(found, list):
        raise UsageError(f"{what}: expected a JSON list, found {shown(text, 60)!r}")
    return found


def _scalar(text: str, kind: str, what: str) -> Any:
    word = text.strip()
    if kind == "bool" and word.lower() in _BOOLS:
        return _BOOLS[word.lower()]
    if kind[0] in "ui" and _WHOLE.fullmatch(word):
        return int(word, 16 if word.startswith("0x") else 10)
    if kind[0] == "f" and (_FLOAT.fullmatch(word) or word.lower().lstrip("+-") in _NO_NUMBERS):
        return _finite(word, what)
    expected = {"b": "true or false", "f": "a number"}.get(kind[0], "a whole number")
    raise UsageError(f"{what}: expected {expected} for its type {kind}, found {shown(text, 60)!r}")


def _finite(word: str, what: str) -> float:
    """The number, which digits make no infinity of."""
    value = float(word)
    if math.isinf(value) and word[-1] in "0123456789.":
        raise UsageError(f"{what}: {shown(word, 40)} is too large for a float of 64 bits; infinity is written inf")
    return value


def _element(value: Any, kind: str, what: str) -> Any:
    """An element as JSON gave it; "NaN" and "Infinity" stand for what JSON has no number for."""
    if kind[0] == "f" and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, (list, dict)) or value is None or isinstance(value, str) != (kind == "string"):
        raise UsageError(f"{what}: expected a list of {kind}, found {shown(json.dumps(value), 60)} in it")
    return value


def plain(type: str, value: Any) -> Any:
    """A value of the reader as JSON can hold it: f32 with no more digits than tell it from its neighbours, and
    "NaN", "Infinity", "-Infinity" for floats that JSON has no number for."""
    inner = element_type(type)
    if inner is not None:
        values: list[Any] = value.tolist() if isinstance(value, (StringArray, NumberArray)) else list(value)
        return [_number(v, inner) for v in values] if inner[0] == "f" else values
    return _number(value, type) if type[0] == "f" else value


def _number(value: float, kind: str) -> float | str:
    if not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if kind == "f32":
        for digits in (6, 7, 8):
            short = float(f"{value:.{digits}g}")
            try:
                if struct.unpack("<f", struct.pack("<f", short))[0] == value:
                    return short
            except OverflowError:  # rounded up beyond the largest float32
                continue
    return value
