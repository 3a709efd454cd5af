"""Python values to the bytes of a GGUF header. Owns type inference and checks on what is to be written."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeq.errors import UsageError, shown
from edgeq.gguf import limits
from edgeq.gguf.arrays import NumberArray, StringArray
from edgeq.gguf.header import TensorInfo
from edgeq.gguf.metadata import Metadata, Value
from edgeq.gguf.types import CODES, TYPE_IDS, WIDTHS, element_type

_INT_RANGES = (("i32", -(1 << 31), 1 << 31), ("i64", -(1 << 63), 1 << 63), ("u64", 0, 1 << 64))
_NUMPY = {"f2": "f32", "f4": "f32", "f8": "f64", "b1": "bool"} | {
    f"{k}{n}": f"{k}{8 * n}" for k in "iu" for n in (1, 2, 4, 8)
}


def typed(metadata: Mapping[str, Any]) -> dict[str, Value]:
    """All values with their GGUF types: those of `Metadata` as they are in their file, others inferred."""
    if isinstance(metadata, Metadata):
        return metadata.typed()
    return {key: infer(key, value) for key, value in metadata.items()}


def infer(key: str, value: Any) -> Value:
    """bool → bool, int → u32 (else i32, i64, u64), float → f32, str → string, sequence → array (ints: i32).

    NumPy arrays and scalars keep their width. UsageError for what has no obvious type, such as an empty list.
    """
    if isinstance(value, Value):
        return value
    if isinstance(value, StringArray):
        return Value("array[string]", value)
    if isinstance(value, NumberArray):
        return Value(f"array[{value.type}]", value)
    if isinstance(value, (bool, int, float, str, bytes)):
        return Value(_scalar_type(key, value), value)
    if hasattr(value, "dtype"):
        kind = _NUMPY.get(value.dtype.str[1:])
        if kind and value.ndim < 2:
            return Value(f"array[{kind}]" if value.ndim else kind, value.tolist())
    elif isinstance(value, Sequence) and value:
        return Value(f"array[{_common_type(key, value)}]", value)
    raise UsageError(
        f"metadata key {shown(key)}: cannot infer a GGUF type for {type(value).__name__} {shown(value, 60)}; "
        'give a gguf.Value, as in Value("array[string]", [])'
    )


def _scalar_type(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "u32" if 0 <= value < 1 << 32 else _int_type(key, (value,))
    return "f32" if isinstance(value, float) else "string"


def _int_type(key: str, values: Sequence[Any]) -> str:
    low, high = min(values), max(values)
    for kind, first, end in _INT_RANGES:
        if first <= low and high < end:
            return kind
    raise UsageError(f"metadata key {shown(key)}: integers from {low} to {high} fit no GGUF type")


def _common_type(key: str, values: Sequence[Any]) -> str:
    kinds = {type(v) for v in values}
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return _int_type(key, values)
    if kinds <= {int, float}:
        return "f32"
    if kinds <= {str, bytes}:
        return "string"
    names = ", ".join(sorted(k.__name__ for k in kinds))
    raise UsageError(f"metadata key {shown(key)}: an array of {names}; GGUF arrays hold one scalar type, no arrays")


def _string(text: Any, what: str) -> bytes:
    """Length and bytes. Surrogate escapes become the bytes they stand for."""
    if isinstance(text, str):
        try:
            text = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UsageError(f"{what}: the text has a lone surrogate, which UTF-8 cannot hold") from None
    if not isinstance(text, (bytes, bytearray, memoryview)):
        raise UsageError(f"{what}: expected str or bytes, found {type(text).__name__}")
    return struct.pack("<Q", len(text)) + bytes(text)


def _numbers(kind: str, values: Sequence[Any], what: str) -> bytes:
    whole = kind[0] in "ui"
    if kind == "bool" and any(v not in (False, True) for v in values):
        raise UsageError(f"{what}: expected bools")
    if whole and any(isinstance(v, bool) for v in values):
        raise UsageError(f"{what}: expected {kind}, found a bool")
    try:
        return struct.pack(f"<{len(values)}{CODES[kind]}", *values)
    except (struct.error, OverflowError, TypeError, ValueError) as e:
        raise UsageError(f"{what}: not all values fit {kind}: {shown(e)}") from None


def _payload(entry: Value, what: str) -> bytes:
    """The bytes after the value type."""
    kind, value = entry
    inner = element_type(kind)
    if inner is not None:
        return _array(inner, value, what)
    if kind == "string":
        return _string(value, what)
    if kind not in CODES:
        raise UsageError(f"{what}: unknown type {shown(kind)}; expected one of {', '.join(TYPE_IDS)}, array[…]")
    if isinstance(value, bytes):
        if len(value) != WIDTHS[kind]:
            raise UsageError(f"{what}: {len(value)} bytes for a {kind}")
        return value
    return _numbers(kind, (value,), what)


def _array(inner: str, value: Any, what: str) -> bytes:
    if inner not in CODES and inner != "string":
        raise UsageError(f"{what}: arrays of {shown(inner)} are not supported; expected a scalar type or string")
    if (isinstance(value, NumberArray) and value.type == inner) or (
        isinstance(value, StringArray) and inner == "string"
    ):
        return struct.pack("<IQ", TYPE_IDS[inner], len(value)) + value.raw
    values = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise UsageError(f"{what}: expected a sequence of {inner}, found {type(value).__name__}")
    body = b"".join(_string(v, what) for v in values) if inner == "string" else _numbers(inner, values, what)
    return struct.pack("<IQ", TYPE_IDS[inner], len(values)) + body


def _label(text: str, what: str, longest: int) -> bytes:
    raw = _string(text, what)
    if not 1 <= len(raw) - 8 <= longest:
        raise UsageError(f"{what} {shown(text)}: has {len(raw) - 8} bytes; expected 1 to {longest}")
    if b"\0" in raw[8:]:
        raise UsageError(f"{what} {shown(text)}: contains a NUL character")
    return raw


def encode_metadata(metadata: Mapping[str, Value]) -> bytes:
    """The metadata section. UsageError names the key that cannot be written."""
    out = []
    for key, entry in metadata.items():
        what = f"metadata key {shown(key)}"
        kind = "array" if element_type(entry.type) is not None else entry.type
        payload = _payload(entry, what)
        out += [_label(key, "metadata key", limits.MAX_KEY_BYTES), struct.pack("<I", TYPE_IDS[kind]), payload]
    return b"".join(out)


def encode_table(tensors: Iterable[TensorInfo], alignment: int) -> tuple[bytes, int]:
    """The tensor table with offsets filled in, and the bytes of the data section without final padding."""
    out = []
    offset = end = 0
    for t in tensors:
        if offset + t.nbytes > limits.MAX_DIM:
            raise UsageError(f"tensor {shown(t.name)}: the file would have over {limits.MAX_DIM} bytes")
        out += [
            _label(t.name, "tensor name", limits.MAX_NAME_BYTES),
            struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape), *reversed(t.shape), t.format.id, offset),
        ]
        end = offset + t.nbytes
        offset = -(-end // alignment) * alignment
    return b"".join(out), end
