"""One file of a model: opened, checked, mapped read-only. Split models have several.

Owns the file descriptor, the map and the fingerprint. The header's rules are header.py's.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import sys
from typing import Any

from edgeq.errors import BackendError, GGUFError, MemoryLimitError, UsageError, shown
from edgeq.gguf.cursor import Cursor
from edgeq.gguf.header import Header, read_header

Fingerprint = tuple[int, int, int, int]  # device, inode, size, mtime in ns

# O_NONBLOCK: a FIFO must not hang us before fstat says that it is one.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class Part:
    """One GGUF file: its `size`, its `header`, and the `fingerprint` that it had when it was opened."""

    def __init__(self, path: str) -> None:
        """GGUFError if the file cannot be opened, is no regular file, or breaks a rule of the format."""
        if sys.byteorder != "little":
            raise BackendError("GGUF files hold little-endian numbers, this machine is big-endian: not supported")
        self.path = path
        self.shown = shown(path)
        self._file = _open(path)
        self._map: mmap.mmap | None = None
        self._base: int | None = None
        try:
            self.fingerprint = self._stat()
            self.size = self.fingerprint[2]
            self.header: Header = read_header(Cursor(self._next, self.size, self.shown))
            self._map = mmap.mmap(self._file.fileno(), self.header.data_end, access=mmap.ACCESS_READ)
            if self.changed():
                raise GGUFError(f"{self.shown}: the file changed while it was opened; try again when it is complete")
        except (OSError, ValueError, OverflowError) as e:
            self.close()
            if isinstance(e, GGUFError):
                raise
            raise GGUFError(f"{self.shown}: cannot be read: {shown(e)}") from None
        except MemoryError:
            self.close()
            raise MemoryLimitError(f"{self.shown}: not enough memory to read its header") from None
        except BaseException:
            self.close()
            raise

    def _stat(self) -> Fingerprint:
        s = os.fstat(self._file.fileno())
        return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns

    def _next(self, n: int) -> bytes:
        """The next `n` bytes of the file, fewer only at its end."""
        out = b""
        while len(out) < n:
            more = self._file.read(n - len(out))
            if not more:
                break
            out = out + more if out else more
        return out

    def changed(self) -> bool:
        """Whether the file was written or cut since it was opened. Replacing it by rename does not count."""
        if self._file.closed:
            return False
        try:
            return self._stat() != self.fingerprint
        except OSError:
            return True

    def read(self, offset: int, n: int) -> bytes:
        """Bytes [offset, offset + n) of the file, through read(2): no SIGBUS if the file shrank.

        GGUFError if they are not there any more, or the device fails. One thread at a time.
        """
        try:
            self._file.seek(offset)
            out = self._next(n)
        except (OSError, ValueError) as e:
            raise GGUFError(f"{self.shown}: cannot be read: {shown(e)}") from None
        if len(out) < n:
            raise GGUFError(f"{self.shown}: the file became shorter while it was read (at byte {offset + len(out)})")
        return out

    def fileno(self) -> int:
        """The file descriptor, open for reading."""
        n: int = self._file.fileno()
        return n

    @property
    def map(self) -> mmap.mmap:
        """The file up to the end of its last tensor."""
        if self._map is None:
            raise UsageError(f"{self.shown}: the file was closed; keep it open while its tensors are used")
        return self._map

    @property
    def address(self) -> int:
        """Where byte 0 of the map lies in memory; valid until close()."""
        if self._base is None:
            self._base = _address(self.map)
        return self._base

    def close(self) -> None:
        """Closes the file. The map goes as soon as the last array over it is gone."""
        self._file.close()
        mapped, self._map, self._base = self._map, None, None
        if mapped is not None:
            with contextlib.suppress(BufferError):  # arrays still point into it: they keep it alive
                mapped.close()


def _open(path: str) -> Any:
    """The file, unbuffered; GGUFError unless it is a regular one."""
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        hint = _half_replaced(path) if isinstance(e, FileNotFoundError) else ""
        raise GGUFError(f"{shown(path)}: cannot be opened: {shown(reason)}{hint}") from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
            raise GGUFError(f"{shown(path)}: is {kind}; expected a GGUF file")
        return open(fd, "rb", buffering=0)
    except BaseException:
        os.close(fd)
        raise


def _half_replaced(path: str) -> str:
    """For the error that a file is missing: where a killed run left it."""
    from edgeq.gguf.placing import replaced

    if (old := replaced(path)) is None:
        return ""
    return (
        f"; a run was killed while it gave the parts of this model their names, and left {shown(old)}: make the model "
        "again with --overwrite, which first puts back what was there"
    )


def _address(mapped: mmap.mmap) -> int:
    try:
        from edgeq import _lib
    except ImportError:
        pass
    else:
        if _lib.available():
            return int(_lib.ffi.cast("uintptr_t", _lib.ffi.from_buffer(mapped)))
    import numpy as np

    return int(np.frombuffer(mapped, np.uint8).__array_interface__["data"][0])
