"""The guards of a pull and its last steps: one at a time, full disks, checksums, the atomic final name."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgeq.errors import DownloadError
from edgeq.pull.progress import Progress

CHUNK = 1 << 20
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
WAIT = 0.1  # seconds between looks at a lock that someone else holds


@contextmanager
def locked(target: Path, progress: Progress) -> Iterator[None]:
    """Holds the lock of `target`; waits while another process pulls it. A dead process holds none."""
    with io_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target.with_name(target.name + ".lock"), "ab")  # noqa: SIM115 - closed below
    try:
        told = False
        while not try_lock(file):
            if not told:
                progress.note(f"another process is fetching {target.name}; waiting for it")
                told = True
            time.sleep(WAIT)
        with io_errors(target):
            yield
    finally:
        file.close()  # which releases the lock


def try_lock(file: BinaryIO) -> bool:
    """Takes the lock if it is free. A file system without locks counts as free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True


@contextmanager
def io_errors(target: Path) -> Iterator[None]:
    """Turns what the file system may say into a DownloadError that names the folder and the way out."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        folder = target.parent
        if error.errno in FULL:
            kept = "what has arrived is kept, and a second try goes on from there"
            raise DownloadError(f"no space left in {folder}; {kept}; EDGEQ_CACHE names another folder") from error
        reason = error.strerror or str(error)
        raise DownloadError(f"{error.filename or folder}: {reason}; EDGEQ_CACHE names another folder") from error


def check_space(folder: Path, needed: int) -> None:
    """Raises DownloadError, before anything is fetched, where `needed` bytes do not fit."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # then the write tells
    if needed > free:
        numbers = f"{needed} bytes are needed, {free} are free"
        raise DownloadError(f"no space left in {folder}: {numbers}; EDGEQ_CACHE names another folder")


def sha256_of(path: Path) -> str:
    """Lower-case hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str | None, what: str) -> None:
    """Compares; a file that differs is removed, since going on from it would never help."""
    if expected is None:
        return
    found = sha256_of(path)
    if found != expected.lower():
        path.unlink(missing_ok=True)
        raise DownloadError(f"{what}: SHA-256 is {found}, expected {expected.lower()}; it was removed, try again")


def finish(part: Path, target: Path, sha256: str | None, progress: Progress) -> Path:
    """Checks the whole file and gives it its final name in one step that survives a crash."""
    check_sha256(part, sha256, target.name)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    part.with_name(part.name + ".json").unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError:
            pass  # some file systems know no fsync of a folder
        finally:
            os.close(folder)
    progress.close()
    return target
