"""The older format of importance matrices (.dat), little-endian, as llama.cpp reads and writes it.

i32 entries; for each: i32 length, name, i32 calls, i32 values, float32 [values], mean squares times calls; then i32
chunks, i32 length, name of the dataset, all three or none. Calls are chunks; how long these were is not said. An expert
that no token reached has mean squares of 1.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from edgeq.errors import FormatError, UsageError, shown
from edgeq.gguf.partfile import PartFile, check_target
from edgeq.imatrix.matrix import Entry, ImportanceMatrix

if TYPE_CHECKING:
    import numpy as np

MAX_NAME = 256  # bytes; tensors of GGUF have at most 64
MAX_DATASET = 1 << 16
MAX_INT = (1 << 31) - 1
MIN_ENTRY = 17  # bytes: three numbers, a name of one, one value
# O_NONBLOCK: a FIFO must not hang us before fstat says that it is one.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def opened(path: str) -> IO[bytes]:
    """The file, for reading. FormatError unless it is a regular one."""
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as e:
        raise FormatError(f"{shown(path)}: cannot be opened: {shown(getattr(e, 'strerror', None) or e)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FormatError(f"{shown(path)}: is no regular file; expected an importance matrix")
    return open(fd, "rb")


class _Cursor:
    """Reads a file in order; nothing is allocated that the file is too short for."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.file, self.where = file, where
        self.left = os.fstat(file.fileno()).st_size

    def error(self, what: str) -> FormatError:
        at = self.file.tell()
        return FormatError(f"{self.where}: byte {at}: {what}; this is no importance matrix, or not all of it")

    def bytes(self, n: int, what: str) -> bytes:
        if n > self.left:
            raise self.error(f"{what} of {n} bytes, the file has {self.left} more")
        data = self.file.read(n)
        if len(data) < n:
            raise self.error(f"{what}: the file became shorter while it was read")
        self.left -= n
        return data

    def number(self, what: str, low: int, high: int) -> int:
        (value,) = struct.unpack("<i", self.bytes(4, what))
        if not low <= value <= high:
            raise self.error(f"{what} is {value}, expected {low} to {high}")
        return int(value)

    def text(self, what: str, low: int, high: int) -> str:
        raw = self.bytes(self.number(f"length of {what}", low, high), what)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"{what} {shown(raw)} is not UTF-8") from None
        if "\0" in text:
            raise self.error(f"{what} {shown(text)} contains a NUL character")
        return text


def load(path: str, chunk_size: int) -> ImportanceMatrix:
    """Reads the file; a chunk is taken for `chunk_size` tokens. FormatError naming the place and the entry."""
    with opened(path) as file:
        cursor = _Cursor(file, shown(path))
        entries: dict[str, Entry] = {}
        for _ in range(cursor.number("number of entries", 1, min(MAX_INT, max(1, cursor.left // MIN_ENTRY)))):
            name, entry = _entry(cursor, chunk_size)
            if name in entries:
                raise cursor.error(f"entry {shown(name)} is there twice")
            entries[name] = entry
        chunks, datasets = 0, []
        if cursor.left:
            chunks = cursor.number("number of chunks", 0, MAX_INT)
            dataset = cursor.text("name of the dataset", 0, MAX_DATASET)
            datasets = [dataset] if dataset else []
        if cursor.left:
            raise cursor.error(f"{cursor.left} bytes behind the name of the dataset, expected none")
        return ImportanceMatrix(entries, datasets, chunks, chunk_size)


def _entry(cursor: _Cursor, chunk_size: int) -> tuple[str, Entry]:
    import numpy as np

    name = cursor.text("name of an entry", 1, MAX_NAME)
    what = f"entry {shown(name)}"
    calls = cursor.number(f"{what}: calls", 1, MAX_INT)
    count = cursor.number(f"{what}: number of values", 1, MAX_INT)
    values = np.frombuffer(cursor.bytes(4 * count, f"{what}: values"), "<f4")
    try:
        with np.errstate(invalid="ignore"):  # NaN, which Entry refuses
            return name, Entry(values.astype(np.float64) * chunk_size, [calls * chunk_size])
    except UsageError as e:
        raise cursor.error(f"{what}: {e}") from None


def save(matrix: ImportanceMatrix, path: str, overwrite: bool, sources: tuple[str, ...]) -> None:
    """Writes the file in one step. UsageError for what the format cannot hold, GGUFError if the disk refuses."""
    check_target(path, overwrite, sources)
    named = list(_named(matrix))
    if not named:
        raise UsageError(f"{shown(path)}: no entry of the importance matrix has counted a token; nothing to write")
    tail = _text("names of the datasets", ", ".join(matrix.datasets), MAX_DATASET)
    file = PartFile(path, 0)
    try:
        file.write(struct.pack("<i", len(named)))
        for name, calls, values in named:
            file.write(name + struct.pack("<ii", calls, len(values)))
            file.write(values)
        file.write(struct.pack("<i", min(matrix.chunk_count, MAX_INT)) + tail)
        file.finish()
        check_target(path, overwrite, sources)
        file.commit()
    finally:
        file.discard()


def _named(matrix: ImportanceMatrix) -> Iterator[tuple[bytes, int, np.ndarray]]:
    """Name, calls, and values of each entry that has any; an entry without a token cannot be said in this format."""
    for name, entry in sorted(matrix.entries.items()):
        tokens = float(entry.counts.max())
        if tokens:
            calls = min(MAX_INT, int(-(-tokens // matrix.chunk_size)))
            yield _text("name", name, MAX_NAME), calls, as_floats(name, entry.means() * calls).reshape(-1)


def _text(what: str, text: str, longest: int) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > longest:
        raise UsageError(f"{what} {shown(text, 60)}: {len(raw)} bytes, a .dat file has room for {longest}")
    return struct.pack("<i", len(raw)) + raw


def as_floats(what: str, values: Any) -> np.ndarray:
    """Rounded to float32. UsageError if one is too large for that."""
    import numpy as np

    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, "<f4")
    if not np.isfinite(rounded).all():
        raise UsageError(f"importance matrix, {shown(what)}: {abs(values).max():g} is too large for float32")
    return rounded
