"""Arrays of GGUF metadata, kept as the bytes of the file and decoded when asked for.

Owns the walk over length-prefixed strings; a vocabulary of 262,144 entries must not be noticed at start-up.
The walk in Python defines it, `eq_scan_strings` of native/scan.c is used where the native library is there.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from edgeq.gguf.types import CODES, WIDTHS

if TYPE_CHECKING:
    import numpy as np

_U64 = struct.Struct("<Q")
_NATIVE_FROM = 4096  # strings; below this, loading the native library costs more than it saves


def scan_strings(data: bytes, start: int, count: int) -> array[int]:
    """Ends of the first `count` strings at data[start:], relative to `start`.

    String i takes 8 bytes of length and then its bytes, up to ends[i]; string i + 1 begins there.
    Fewer ends than `count` mean that the string after the last one runs past the data.
    """
    count = max(0, min(count, (len(data) - start) // 8))
    if count >= _NATIVE_FROM:
        found = scan_native(data, start, count)
        if found is not None:
            return found
    return scan_python(data, start, count)


def scan_python(data: bytes, start: int, count: int) -> array[int]:
    """`scan_strings` in plain Python: its definition, about 0.1 µs a string."""
    ends = array("I")
    push, unpack = ends.append, _U64.unpack_from
    at = start
    try:
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
            push(at - start)
    except (struct.error, OverflowError):  # past the data, or past what an offset can say
        pass
    if ends and ends[-1] > len(data) - start:
        ends.pop()
    return ends


def scan_native(data: bytes, start: int, count: int) -> array[int] | None:
    """`scan_strings` in C; None where there is no native library."""
    native = _native()
    if native is None:
        return None
    lib, ffi = native
    ends = array("I", bytes(4 * count))
    done = lib.eq_scan_strings(
        ffi.from_buffer("uint8_t[]", data) + start,
        len(data) - start,
        count,
        ffi.from_buffer("uint32_t[]", ends, require_writable=True),
    )
    return ends if done == count else ends[:done]


def join_native(data: bytes, count: int) -> bytes | None:
    """The `count` strings of `data`, each with a byte 0xFF behind it, which no UTF-8 holds: split there, they
    are a list ten times sooner than by a loop. None where a string does hold it, where there are too few to pay
    or where there is no native library."""
    native = _native() if count >= _NATIVE_FROM else None
    if native is None:
        return None
    lib, ffi = native
    out = ffi.new("uint8_t[]", len(data))
    n = lib.eq_join_strings(ffi.from_buffer("uint8_t[]", data), len(data), count, 0xFF, out)
    return None if n < 0 else bytes(ffi.buffer(out, n))


def _native() -> tuple[Any, Any] | None:
    """The native library and its ffi, where there is one."""
    try:
        from edgeq import _lib
    except ImportError:
        return None
    return (_lib.lib, _lib.ffi) if _lib.available() else None


class StringArray(Sequence[str]):
    """Strings of a metadata array, decoded on access. Bytes that are not UTF-8 come as surrogate escapes.

    `raw` is the array as the file has it: per string 8 bytes of length, then the bytes.
    """

    __slots__ = ("_ends", "raw")

    def __init__(self, raw: bytes, ends: array[int]) -> None:
        self.raw = raw
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.bytes_at(index).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        raw, start = self.raw, 8
        for end in self._ends:
            yield raw[start:end].decode("utf-8", "surrogateescape")
            start = end + 8

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringArray):
            return self.raw == other.raw
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<StringArray of {len(self)}>"

    def bytes_at(self, index: int) -> bytes:
        """String `index` as the bytes in the file."""
        i = range(len(self))[index]
        return self.raw[self._ends[i - 1] + 8 if i else 8 : self._ends[i]]

    def tolist(self) -> list[str]:
        """All strings."""
        joined = join_native(self.raw, len(self))
        if joined is None:
            return list(self)
        return joined.decode("utf-8", "surrogateescape").split("\udcff")[:-1]

    def tobytes(self) -> list[bytes]:
        """All strings as the bytes in the file."""
        joined = join_native(self.raw, len(self))
        if joined is not None:
            return joined.split(b"\xff")[:-1]
        raw, start, out = self.raw, 8, []
        for end in self._ends:
            out.append(raw[start:end])
            start = end + 8
        return out


class NumberArray(Sequence[Any]):
    """Numbers (or bools) of a metadata array. `raw` is the little-endian bytes, `type` the element type."""

    __slots__ = ("_view", "raw", "type")

    def __init__(self, raw: bytes, type: str) -> None:
        self.raw = raw
        self.type = type
        self._view: memoryview[Any] = memoryview(raw).cast(CODES[type])  # type: ignore[call-overload]

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, index: int | slice) -> Any:
        return self._view[index].tolist() if isinstance(index, slice) else self._view[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._view)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberArray) and other.type == self.type:
            return self.raw == other.raw
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<NumberArray of {len(self)} {self.type}>"

    def tolist(self) -> list[Any]:
        """All elements as Python ints, floats or bools."""
        return self._view.tolist()

    def numpy(self) -> np.ndarray:
        """A read-only array [len] over the same bytes."""
        import numpy as np

        kind = {"f": "f", "d": "f", "?": "b"}.get(CODES[self.type], "u" if self.type[0] == "u" else "i")
        return np.frombuffer(self.raw, np.dtype(f"<{kind}{WIDTHS[self.type]}"))
