"""The thirteen metadata value types of GGUF: name, width, struct code. A type id is an index into TYPES."""

from __future__ import annotations

TYPES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64")
TYPE_IDS = {name: i for i, name in enumerate(TYPES)}

# Types of fixed width: struct code (little endian, without padding). Strings and arrays have none.
CODES = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i",
    "f32": "f", "bool": "?", "u64": "Q", "i64": "q", "f64": "d",
}  # fmt: skip
WIDTHS = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4,
    "f32": 4, "bool": 1, "u64": 8, "i64": 8, "f64": 8,
}  # fmt: skip


def element_type(type: str) -> str | None:
    """ "f32" for "array[f32]", None for a type that is no array."""
    return type[6:-1] if type.startswith("array[") and type.endswith("]") else None
