"""A file in the making: written under another name beside its target, which it replaces when complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import sys
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError, GGUFError, UsageError, shown

if TYPE_CHECKING:
    from edgeq.gguf.part import Part

_CHUNK = 16 << 20  # bytes per write(2)
_LONGEST_NAME = 48  # characters of a target's name, at most 4 bytes each; filesystems take 255 bytes
_FICLONE = 0x40049409  # of linux/fs.h: share all blocks of another file
_NUMBER = re.compile(r"([0-9]{1,20})(-[0-9]+)?", re.ASCII)  # behind .NAME.part-
_NO_FALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def check_target(path: str, overwrite: bool, sources: tuple[str, ...]) -> None:
    """UsageError if `path` may not be written: it is there, it is no file, it is one of `sources`, or its name is too
    long or -, which would be taken for stdout."""
    if path == "-":
        raise UsageError("-: stdout takes no such file, as it is complete only at its end; name a file, or ./- for one "
                         "that is called so")  # fmt: skip
    check_name(path)
    if not os.path.lexists(path):
        return
    for source in sources:
        try:
            same = os.path.samefile(path, source)
        except OSError:
            same = False
        if same:
            raise UsageError(f"{shown(path)}: is the file that is read; write to another name and rename it afterwards")
    if not os.path.isfile(path):
        raise UsageError(f"{shown(path)}: exists and is no regular file; choose another name")
    if not overwrite:
        raise UsageError(f"{shown(path)}: exists already; remove it, or replace it with --overwrite (overwrite=True)")


def check_name(path: str) -> None:
    """UsageError for a name that is longer than the filesystem takes."""
    try:
        os.lstat(os.path.realpath(path))
    except (OSError, ValueError) as e:
        if getattr(e, "errno", None) == errno.ENAMETOOLONG:
            name = os.fsencode(os.path.basename(path))
            raise UsageError(f"{shown(path)}: too long for the filesystem, the name has {len(name)} bytes; choose a "
                             "shorter one") from None  # fmt: skip


def beside(target: str, ending: str) -> str:
    """The path `.NAME.ENDING` beside `target`. Of a long name, which may leave no room for more, the beginning and a
    digest, so that no other target has the same: the names of a split model's parts differ at their end alone."""
    folder, name = os.path.split(target)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return os.path.join(folder, f".{name}.{ending}")


def open_kept(path: str) -> int:
    """The file that an interrupted run left at `path`, or a new one, open for reading and writing. UsageError if it is
    no regular file, or a file that has another name too: what is written must not end up elsewhere."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError:
        with contextlib.suppress(OSError):
            _check_own(os.lstat(path), path)
        raise
    try:
        _check_own(os.fstat(fd), path)
        with contextlib.suppress(FileNotFoundError):  # another run has just ended and taken it away
            _check_own(os.lstat(path), path)  # where links cannot be refused when they are opened
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_own(found: os.stat_result, path: str) -> None:
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return
    kind = "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is no regular file"
    if stat.S_ISREG(found.st_mode):
        kind = f"is a file with {found.st_nlink} names"
    raise UsageError(f"{shown(path)}: {kind}; expected what an interrupted run left, or nothing; remove it")


def reason(e: BaseException) -> str:
    """Why the system refused, in its words."""
    return str(getattr(e, "strerror", None) or e)


def _remove_stale(target: str) -> None:
    """Removes what killed runs left of `target`. Never raises: what cannot be removed stays. Not on Windows."""
    if os.name == "nt":
        return
    folder, prefix = os.path.split(beside(target, "part-"))
    with contextlib.suppress(OSError, ValueError):
        for name in os.listdir(folder or "."):
            found = _NUMBER.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if found and not _lives(int(found[1])):
                with contextlib.suppress(OSError):
                    _remove_unlocked(os.path.join(folder, name))


def _lives(pid: int) -> bool:
    """Whether another process has this number here. Parts of a split model that wait for the others have no lock."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is someone else's
        return True
    return pid != os.getpid()


def _remove_unlocked(path: str) -> None:
    """Removes a file unless someone holds its lock: also in another container, where processes have other numbers."""
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    finally:
        os.close(fd)


def _claimed(fd: int, path: str) -> bool:
    """Locks a new file; False if another process took it for a stale one before it was locked."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
    except (ImportError, OSError):  # no locks here, so nobody can take it for a stale one
        return True


class PartFile:
    """`.NAME.part-PID` beside `target`: `commit()` puts it in place whole, or `discard()` removes it.

    One that is to be `kept` is called `.NAME.part` instead, and is taken up again where there is one already. Others
    are locked while they are written: what a killed run left is removed by the next one for the same target. Where the
    target is a symbolic link, the file that it names is replaced, and the link stays."""

    def __init__(self, target: str, size: int, kept: bool = False) -> None:
        """Creates the file and reserves `size` bytes. GGUFError if the disk refuses."""
        self.target = os.path.realpath(target)
        self.path = ""
        self.written = 0
        self._fd = -1
        _remove_stale(self.target)
        if kept:
            self._take_up()
        else:
            self._create()
        work = kept and os.fstat(self._fd).st_size > 0  # an earlier run's
        try:
            self.reserve(size)
        except BaseException:
            if work:
                self.keep()
            else:
                self.discard()
            raise

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for attempt in range(1000):
            more = f"-{attempt}" if attempt else ""
            self.path = beside(self.target, f"part-{os.getpid()}{more}")
            try:
                self._fd = os.open(self.path, flags, 0o666)
                if _claimed(self._fd, self.path):
                    return
                os.close(self._fd)
            except FileExistsError:
                continue
            except (OSError, ValueError) as e:
                raise self.error(e) from None
        raise GGUFError(f"{shown(self.target)}: cannot be written: {shown(self.path)} and 999 like it are in the way")

    def _take_up(self) -> None:
        self.path = beside(self.target, "part")
        try:
            self._fd = open_kept(self.path)
        except EdgeqError:
            self.path = ""
            raise
        except (OSError, ValueError) as e:
            self.path = ""
            raise self.error(e) from None

    def kept_bytes(self, n: int) -> bytes | None:
        """The next `n` bytes that an earlier run left, as if they were written now; None if there are fewer."""
        try:
            data = b""
            while len(data) < n and (more := os.read(self._fd, min(n - len(data), _CHUNK))):
                data += more
            if len(data) == n:
                self.written += n
                return data
            os.lseek(self._fd, self.written, os.SEEK_SET)
        except OSError as e:
            raise self.error(e) from None
        return None

    def back_to(self, n: int) -> None:
        """Goes on writing after the first `n` bytes."""
        try:
            os.lseek(self._fd, n, os.SEEK_SET)
        except OSError as e:
            raise self.error(e) from None
        self.written = n

    def keep(self) -> None:
        """Closes the file and leaves it for another run. Never raises."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        self.path = ""

    def error(self, e: Exception) -> GGUFError:
        return GGUFError(f"{shown(self.target)}: cannot be written: {shown(reason(e))}")

    def write(self, data: Any) -> None:
        """Appends the bytes of a buffer."""
        view = memoryview(data)
        try:
            while len(view):
                n = os.write(self._fd, view[:_CHUNK])
                self.written += n
                view = view[n:]
        except OSError as e:
            raise self.error(e) from None

    def copy(self, source: Part, offset: int, n: int) -> None:
        """Appends bytes [offset, offset + n) of another file, inside the kernel where it can."""
        end = offset + n
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):  # if that is more than a kernel that declines, writing will say it
                while offset < end:
                    done = os.copy_file_range(source.fileno(), self._fd, min(end - offset, 1 << 28), offset)
                    if not done:  # also some network filesystems' way to decline
                        break
                    offset += done
                    self.written += done
        while offset < end:
            self.write(source.read(offset, min(_CHUNK, end - offset)))
            offset += min(_CHUNK, end - offset)

    def clone(self, source: Part) -> bool:
        """Makes this file, still empty, a copy of `source` that shares its blocks on the disk: no byte is moved
        and no space is taken. False where the filesystem has no such copies (btrfs and XFS have)."""
        if not sys.platform.startswith("linux"):
            return False
        import fcntl

        try:
            fcntl.ioctl(self._fd, _FICLONE, source.fileno())
        except OSError:
            return False
        self.written = source.size
        return True

    def overwrite(self, data: bytes) -> None:
        """Replaces the first bytes of the file; it goes on at its end."""
        end, self.written = self.written, 0
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            self.write(data)
            self.written = end
            os.lseek(self._fd, end, os.SEEK_SET)
        except OSError as e:
            raise self.error(e) from None

    def belong_like(self, source: Part) -> None:
        """Gives the file the mode of `source`, and its owner where that is allowed."""
        if not hasattr(os, "fchown"):  # Windows
            return
        like = os.fstat(source.fileno())
        with contextlib.suppress(OSError):
            os.fchown(self._fd, like.st_uid, like.st_gid)
        with contextlib.suppress(OSError):
            os.fchmod(self._fd, like.st_mode & 0o777)

    def reserve(self, size: int) -> None:
        """Claims the disk space at once, where the system can: a full disk shows before hours of work."""
        if not size or not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as e:
            if e.errno not in _NO_FALLOCATE:
                raise self.error(e) from None

    def finish(self) -> None:
        """Puts everything on the disk and closes the file; it still has its temporary name."""
        fd, self._fd = self._fd, -1
        try:
            try:
                os.ftruncate(fd, self.written)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as e:
            raise self.error(e) from None

    def commit(self) -> None:
        """Gives the file its name: whoever opens that sees the old file or the new one, whole."""
        try:
            os.replace(self.path, self.target)
        except OSError as e:
            raise self.error(e) from None
        self.path = ""
        sync_folder(os.path.dirname(self.target))

    def discard(self) -> None:
        """Closes and removes the file if it still has its temporary name. Never raises."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.path = ""


def sync_folder(folder: str) -> None:
    """Makes a rename in `folder` last, on systems where a folder can be synced; it is done in any case."""
    try:
        fd = os.open(folder or ".", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)
