"""A cursor over the start of one file: bytes are copied out of it before they are checked, as many as the
header needs. Every read is compared with the file's size first. Knows nothing of keys and tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from edgeq.errors import GGUFError, shown
from edgeq.gguf import limits

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_FIRST_READ = 2 << 20  # then four times as much: two reads are enough for a vocabulary of 262,144 entries


def said(name: str) -> str:
    """`shown`, without its cost for the plain names that all honest files have."""
    return name if len(name) <= 200 and name.isascii() and name.isprintable() else shown(name)


class Cursor:
    """`read(n)` gives the next n bytes of the file (fewer at its end), `size` is the file's size."""

    __slots__ = ("_read", "buf", "name", "pos", "size")

    def __init__(self, read: Callable[[int], bytes], size: int, name: str) -> None:
        self._read = read
        self.size = size
        self.name = name
        self.pos = 0
        self.buf = read(min(size, _FIRST_READ))

    @property
    def left(self) -> int:
        """Bytes from here to the end of the file."""
        return self.size - self.pos

    def error(self, text: str, at: int | None = None) -> GGUFError:
        """The error `text`, with the file and the place in it."""
        return GGUFError(f"{self.name}: {text} (at byte {self.pos if at is None else at})")

    def ensure(self, n: int, what: str) -> None:
        """Makes the next `n` bytes available in `buf`; refuses what the file lacks or MAX_HEADER forbids."""
        end = self.pos + n
        if end > self.size:
            raise self.error(
                f"{what} needs {n} bytes, {self.left} are left; the file is cut short or broken, download it again"
            )
        if end > len(self.buf):
            self._grow(end, what)

    def _grow(self, end: int, what: str) -> None:
        if end > limits.MAX_HEADER:
            raise self.error(f"{what}: a header over {limits.MAX_HEADER} bytes is not supported")
        want = min(self.size, limits.MAX_HEADER, max(end, 4 * len(self.buf)))
        self.buf += self._read(want - len(self.buf))
        if len(self.buf) < end:
            raise self.error(f"{what}: the file became shorter while it was read")

    def u32(self, what: str) -> int:
        self.ensure(4, what)
        value: int = _U32.unpack_from(self.buf, self.pos)[0]
        self.pos += 4
        return value

    def u64(self, what: str) -> int:
        self.ensure(8, what)
        value: int = _U64.unpack_from(self.buf, self.pos)[0]
        self.pos += 8
        return value

    def take(self, n: int, what: str) -> bytes:
        self.ensure(n, what)
        self.pos += n
        return self.buf[self.pos - n : self.pos]

    def string(self, what: str) -> bytes:
        """A string with its length before it."""
        n = self.u64(f"length of {what}")
        if n > self.left:
            raise self.error(
                f"{what} has a length of {n} bytes, {self.left} are left in the file; "
                "the file is cut short or broken, download it again",
                self.pos - 8,
            )
        return self.take(n, what)

    def label(self, what: str, longest: int) -> str:
        """A key or a tensor name: not empty, at most `longest` bytes of UTF-8 without NUL."""
        at = self.pos
        n = self.u64(f"length of {what}")
        if not 1 <= n <= longest:
            raise self.error(f"{what} has a length of {n} bytes; expected 1 to {longest}", at)
        raw = self.take(n, what)
        if b"\0" in raw:
            raise self.error(f"{what} contains a NUL byte", at)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8", at) from None
