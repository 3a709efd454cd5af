"""Safetensors files, read strictly: 8 bytes of length, a JSON header, and the tensors' bytes, mapped.

A reader of our own and not the `safetensors` package, for three reasons: for NumPy the package has no BF16 and no
FP8, which is what checkpoints hold; it gives no view of part of a tensor in its own bytes, which is what keeps
memory bounded; and its messages name neither file nor tensor. The format is small enough to check whole before
any weight is looked at: the header's length against the file, every name once, every dtype known, every shape of
whole numbers whose bytes are what the offsets say, and data without gap, overlap or rest, as the format demands.

Source: the format's description in the README of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import FormatError, shown
from edgeq.record import Record

if TYPE_CHECKING:
    import numpy as np

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors package
MAX_TENSORS = 1 << 20
MAX_DIMS = 8

DTYPES: dict[str, tuple[int, str]] = {
    "F64": (8, "<f8"), "F32": (4, "<f4"), "F16": (2, "<f2"), "BF16": (2, "<u2"), "F8_E4M3": (1, "u1"),
    "F8_E5M2": (1, "u1"), "I64": (8, "<i8"), "I32": (4, "<i4"), "I16": (2, "<i2"), "I8": (1, "i1"),
    "U64": (8, "<u8"), "U32": (4, "<u4"), "U16": (2, "<u2"), "U8": (1, "u1"), "BOOL": (1, "u1"),
}  # fmt: skip
"""Bytes of an element, and the NumPy type that its bytes are seen as: BF16 and FP8 as whole numbers."""


class Tensor(Record):
    """One tensor of a file: `data` are its bytes in the mapping, `path` the file it is in."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: memoryview
    path: str

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def array(self) -> np.ndarray:
        """A read-only view of `shape`; the NumPy type is that of DTYPES."""
        import numpy as np

        return np.frombuffer(self.data, DTYPES[self.dtype][1]).reshape(self.shape)


def read(path: str | Path) -> list[Tensor]:
    """Every tensor of a file, in the order of its bytes, as views of the mapped file.

    Raises FormatError naming the file, and the tensor where it is one tensor's fault; OSError if it cannot be read.
    """
    where = shown(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        if len(first) < 8:
            raise FormatError(f"{where}: {size} bytes are no safetensors file; expected at least 8")
        length: int = struct.unpack("<Q", first)[0]
        if length > min(MAX_HEADER, size - 8):
            raise FormatError(
                f"{where}: header of {length} bytes; expected at most {min(MAX_HEADER, size - 8)}. "
                "It is no safetensors file, or not all of it is here; fetch it again"
            )
        header = _header(file.read(length), where)
        entries = list(_entries(header, where))
        data = size - 8 - length
        _check_layout(entries, data, where)
        if not data:
            whole = memoryview(b"")
        else:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
    return [Tensor(name, dtype, shape, whole[a:b], str(path)) for name, dtype, shape, a, b in entries]


Entry = tuple[str, str, tuple[int, ...], int, int]  # name, dtype, shape, first byte, end


def _header(raw: bytes, where: str) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: the header is no JSON: {shown(error, 120)}") from None
    if not isinstance(header, dict):
        raise FormatError(f"{where}: the header is a {type(header).__name__}, expected a JSON object")
    if len(header) > MAX_TENSORS:
        raise FormatError(f"{where}: {len(header)} tensors; at most {MAX_TENSORS} are read")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{shown(twice, 80)} is there twice")
    return found


def _entries(header: dict[str, Any], where: str) -> Iterator[Entry]:
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        what = f"{where}: tensor {shown(name)}"
        if not isinstance(entry, dict):
            raise FormatError(f"{what}: expected a JSON object, found {type(entry).__name__}")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise FormatError(f"{what}: dtype {shown(dtype, 40)}; known are {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > MAX_DIMS or not all(_is_size(n) for n in shape):
            raise FormatError(f"{what}: shape {shown(shape, 80)}; expected at most {MAX_DIMS} whole numbers")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
            raise FormatError(f"{what}: data_offsets {shown(offsets, 80)}; expected the first byte and the end")
        first, end = offsets
        wanted = math.prod(shape) * DTYPES[dtype][0]
        if end - first != wanted:
            raise FormatError(
                f"{what}: data_offsets {offsets} are {end - first} bytes; {dtype} {shown(shape, 80)} has {wanted}"
            )
        yield name, dtype, tuple(shape), first, end


def _is_size(n: object) -> bool:
    return type(n) is int and 0 <= n < 1 << 63


def _check_layout(entries: list[Entry], data: int, where: str) -> None:
    """Sorts by place; every byte of the data belongs to one tensor, else a tensor could read another's bytes."""
    entries.sort(key=lambda e: (e[3], e[4]))
    at = 0
    for name, _, _, first, end in entries:
        if first != at:
            problem = "overlaps the one before it" if first < at else "leaves a gap before it"
            raise FormatError(
                f"{where}: tensor {shown(name)} starts at byte {first} of the data, expected {at}: {problem}"
            )
        at = end
    if at != data:
        raise FormatError(
            f"{where}: {data} bytes of data, the header describes {at}; "
            f"{'the file was cut off: fetch it again' if at > data else 'there is something behind the tensors'}"
        )
