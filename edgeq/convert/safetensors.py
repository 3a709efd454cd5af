"""Safetensors files, read strictly: 8 bytes of length, a JSON header, and the tensors' bytes.

A reader of our own and not the `safetensors` package, for three reasons: for NumPy the package has no BF16 and no
FP8, which is what checkpoints hold; it maps the file, so that one that is cut meanwhile ends the process, where reading
rows of it raises an error and keeps memory bounded too; and its messages name neither file nor tensor. The format is
small enough to check whole before any weight is looked at: the header's length against the file, every name once,
every dtype known, every shape of whole numbers whose bytes are what the offsets say, and data without gap, overlap or
rest, as the format demands.

Source: the format's description in the README of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import FormatError, shown
from edgeq.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors package
MAX_TENSORS = 1 << 20
MAX_DIMS = 8
PIECE = 8 << 20  # bytes at a time

DTYPES: dict[str, tuple[int, str]] = {
    "F64": (8, "<f8"), "F32": (4, "<f4"), "F16": (2, "<f2"), "BF16": (2, "<u2"), "F8_E4M3": (1, "u1"),
    "F8_E5M2": (1, "u1"), "I64": (8, "<i8"), "I32": (4, "<i4"), "I16": (2, "<i2"), "I8": (1, "i1"),
    "U64": (8, "<u8"), "U32": (4, "<u4"), "U16": (2, "<u2"), "U8": (1, "u1"), "BOOL": (1, "u1"),
}  # fmt: skip
"""Bytes of an element, and the NumPy type that its bytes are seen as: BF16 and FP8 as whole numbers."""


class File:
    """A file of weights. It is opened for each read: hundreds of shards need no descriptors."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._whole: dict[tuple[int, int], np.ndarray] = {}

    def read(self, at: int, n: int) -> np.ndarray:
        """Bytes [at, at + n), uint8 [n]. FormatError if they are not there any more, or the device fails."""
        import numpy as np

        try:
            out = np.fromfile(self.path, np.uint8, n, offset=at)
        except OSError as error:
            raise FormatError(f"{shown(self.path)}: cannot be read: {shown(error.strerror or error)}") from None
        if len(out) < n:
            raise FormatError(f"{shown(self.path)}: became shorter while it was read; start again")
        return out

    def whole(self, at: int, n: int) -> np.ndarray:
        """The same, kept until `release`."""
        if (at, n) not in self._whole:
            self._whole[at, n] = self.read(at, n)
            self._whole[at, n].flags.writeable = False
        return self._whole[at, n]

    def release(self) -> None:
        """Forgets what `whole` keeps."""
        self._whole.clear()


class Tensor(Record):
    """One tensor of a file, whose bytes begin at `at`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: File
    at: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype][0]

    def array(self) -> np.ndarray:
        """All of it, read-only, kept until the file is told to `release`; the NumPy type is that of DTYPES."""
        return self.file.whole(self.at, self.nbytes).view(DTYPES[self.dtype][1]).reshape(self.shape)

    def rows(self, rows: NDArray[np.intp]) -> np.ndarray:
        """These entries of the first axis. What lies between the first and the last of them is read."""
        if not len(rows):
            return self.file.read(self.at, 0).view(DTYPES[self.dtype][1]).reshape(0, *self.shape[1:])
        first, end = int(rows.min()), int(rows.max()) + 1
        size = self.nbytes // self.shape[0]
        data = self.file.read(self.at + first * size, (end - first) * size).view(DTYPES[self.dtype][1])
        return data.reshape(end - first, *self.shape[1:])[rows - first]

    def same(self, other: Tensor) -> bool:
        """Whether dtype, shape and every byte are the same; read in pieces."""
        import numpy as np

        if (self.dtype, self.shape) != (other.dtype, other.shape):
            return False
        pieces = ((at, min(PIECE, self.nbytes - at)) for at in range(0, self.nbytes, PIECE))
        return all(
            np.array_equal(self.file.read(self.at + at, n), other.file.read(other.at + at, n)) for at, n in pieces
        )


def read(path: str | Path) -> list[Tensor]:
    """Every tensor of a file, in the order of its bytes; the bytes themselves are read when they are asked for.

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
    start = 8 + length
    _check_layout(entries, size - start, where)
    source = File(path)
    return [Tensor(name, dtype, shape, source, start + a) for name, dtype, shape, a, _ in entries]


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
