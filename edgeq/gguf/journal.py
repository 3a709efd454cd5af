"""Which tensors of a file in the making are done: lines beside it, so that a run that was ended can be gone on with."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import IO

from edgeq.errors import EdgeqError, GGUFError, UsageError, shown
from edgeq.gguf.partfile import beside, open_kept, reason


class Journal:
    """`.NAME.journal` beside `target`: a key that says what is made, then a digest for each tensor that is written.

    `digests` are those of an earlier run for the same key; with another key, or torn, it starts anew. `empty` says
    that no work is lost with it, neither an earlier run's nor this one's.
    """

    def __init__(self, target: str, key: str) -> None:
        """UsageError if another run holds it or it is a link, GGUFError if the disk refuses."""
        self.path = beside(os.path.realpath(target), "journal")
        self.digests: list[str] = []
        self._target = target
        try:
            self._file: IO[str] = open(open_kept(self.path), "r+", encoding="ascii", errors="replace")  # noqa: SIM115
        except EdgeqError:
            raise
        except (OSError, ValueError) as e:
            raise self._error(e) from None
        try:
            self._claim()
            self._file.seek(0)
            lines = self._file.read(1 << 24).split("\n")  # the last one is what a torn write left, or empty
            if lines[0] == key and len(lines) > 1:
                self.digests = lines[1:-1]
            self._key = key
            self.empty = lines == [""]
        except OSError as e:
            self.close()
            raise self._error(e) from None
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        """Two runs would write into one file: the second is refused. Not on Windows."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(self.path).st_ino == os.fstat(self._file.fileno()).st_ino
        except (BlockingIOError, FileNotFoundError):
            there = False
        if not there:  # or the other run has just ended and taken the journal away
            raise UsageError(f"{shown(self._target)}: another run is writing it; wait until that has ended")

    def settle(self, n: int) -> None:
        """The first `n` of the digests hold; tensors are added from here on."""
        self.digests = self.digests[:n]
        self.empty = n == 0
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write("".join(f"{line}\n" for line in (self._key, *self.digests)))
            self._file.flush()
        except OSError as e:
            raise self._error(e) from None

    def add(self, digest: str) -> None:
        """One more tensor is written."""
        try:
            self._file.write(digest + "\n")
            self._file.flush()
            self.empty = False
        except OSError as e:
            raise self._error(e) from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """The work is done."""
        if os.name == "nt":  # which does not remove open files
            self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def _error(self, e: Exception) -> GGUFError:
        return GGUFError(f"{shown(self.path)}: cannot be written: {shown(reason(e))}")


def remove_left(targets: Iterable[str]) -> None:
    """Removes what an interrupted run left to go on from, journal and files, unless another run is at it. Never raises:
    what cannot be removed stays. Not on Windows, nor on filesystems without locks."""
    try:
        import fcntl
    except ImportError:
        return
    paths = [os.path.realpath(target) for target in targets]
    journal = beside(paths[0], "journal")
    with contextlib.suppress(OSError, ValueError):
        fd = os.open(journal, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not stat.S_ISREG(os.fstat(fd).st_mode) or not os.path.samestat(os.fstat(fd), os.lstat(journal)):
                return
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside(path, "part"))
            os.unlink(journal)
        finally:
            os.close(fd)
