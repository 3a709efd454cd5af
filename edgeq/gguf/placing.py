"""Gives the parts of a split model their names: all of them or none, also where others have these names.

What has the name of a part is called `.NAME.replaced` meanwhile; an empty file there says that nothing had it. The
first part goes first and comes last: without it no model can be opened, so none is ever seen that is half replaced.
What a killed run left of this, the next one for the same names undoes or, if the first part is there, clears away.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence

from edgeq.errors import GGUFError, UsageError, shown
from edgeq.gguf.partfile import PartFile, beside, check_target, reason, sync_folder

_PATIENCE = 60.0  # seconds for another run to give its files their names


def place(files: Sequence[PartFile], overwrite: bool, sources: tuple[str, ...], resume: bool) -> None:
    """Gives complete files their names. One file replaces the other in one step; of several all or none.

    UsageError if a name may not be taken, GGUFError if the disk refuses: either says what is there afterwards.
    """
    targets = [file.target for file in files]
    with _alone(targets):
        _undo_killed(targets, overwrite, resume)
        for target in targets:
            check_target(target, overwrite, sources)
        if len(files) == 1:
            files[0].commit()
        else:
            _exchange(files, targets)


def settle(paths: Sequence[str], overwrite: bool, resume: bool) -> None:
    """Undoes what a killed run left half replaced at `paths`, the parts of a model; UsageError if that is not asked
    for, GGUFError if the disk refuses. With `resume` the new parts that are in place are kept to go on from."""
    targets = [os.path.realpath(path) for path in paths]
    with _alone(targets):
        _undo_killed(targets, overwrite, resume)


def replaced(path: str) -> str | None:
    """The name under which a killed run left what was at `path`, if it did."""
    old = _old(os.path.realpath(path))
    return old if _size(old) is not None else None


def _exchange(files: Sequence[PartFile], targets: list[str]) -> None:
    if taken := next((old for old in map(_old, targets) if os.path.lexists(old)), None):
        raise GGUFError(f"{shown(targets[0])}: cannot be written: {shown(taken)} is in the way; remove it")
    file = files[0]
    try:
        for file in files:
            _set_aside(file.target)
        _sync(targets)
        for file in files[1:]:
            os.replace(file.path, file.target)
        _sync(targets)
        file = files[0]
        os.replace(file.path, file.target)
        _sync(targets)
    except BaseException as e:  # Ctrl-C and signals too
        why = file.error(e) if isinstance(e, Exception) else f"{shown(file.target)}: interrupted"
        done = _undo(targets, [f.path for f in files], str(why))
        if not isinstance(e, OSError):
            raise
        if not done:  # the last rename may work and fail nevertheless, over a network
            raise GGUFError(f"{why}; nothing was replaced") from None
    for file in files:
        file.path = ""
    _clear(targets)


def _undo(targets: list[str], names: Sequence[str], why: str) -> bool:
    """As _put_back; GGUFError, which begins with `why`, where that fails."""
    while True:
        try:
            return _put_back(targets, names)
        except OSError as e:
            kept = [shown(old) for old in map(_old, targets) if _size(old)]
            more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
            raise GGUFError(
                f"{why}; and what was there before cannot be put back: {shown(reason(e))}: the model is incomplete"
                + (f", the files that were there are {', '.join(kept[:3])}{more}" if kept else "")
                + "; make it again with --overwrite, which first puts them back"
            ) from None
        except (KeyboardInterrupt, SystemExit):  # the second one: this takes milliseconds, and must not stop half-way
            continue


def _undo_killed(targets: list[str], overwrite: bool, resume: bool) -> None:
    left = next((old for old in map(_old, targets) if _size(old) is not None), None)
    if len(targets) == 1 or left is None:
        return
    if os.path.lexists(targets[0]):  # it comes last: the model is whole, or someone has made another
        if overwrite:
            _clear(targets)
        return
    why = f"{shown(targets[0])}: a run was killed while it gave the parts of this model their names, and left "
    if not overwrite and not resume:
        raise UsageError(
            f"{why}{shown(left)}; ask for the model to be overwritten (--overwrite), which first puts back what was "
            "there"
        )
    _undo(targets, [beside(target, "part") if resume else "" for target in targets], f"{why}{shown(left)}")


def _put_back(targets: list[str], names: Sequence[str]) -> bool:
    """Undoes an exchange, however far it came: looks at nothing but the files. New parts that are in place get their
    temporary `names` again, or are removed where that is empty. True, and nothing undone, if all are in place."""
    if os.path.lexists(targets[0]):  # nothing has happened yet, or all
        done = _size(_old(targets[0])) is not None
        _clear(targets)
        return done
    for target, name in reversed(list(zip(targets, names, strict=True))):
        old = _old(target)
        size = _size(old)
        if size is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            if name:
                os.replace(target, name)
            else:
                os.unlink(target)
        if size:
            os.replace(old, target)
        else:
            os.unlink(old)
    _sync(targets)
    return False


def _set_aside(target: str) -> None:
    old = _old(target)
    if os.path.lexists(target):
        os.replace(target, old)
    else:
        os.close(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _clear(targets: list[str]) -> None:
    """Removes what was set aside, the first part first: the others alone are no model. Never raises."""
    for old in map(_old, targets):
        if _size(old) is not None:
            with contextlib.suppress(OSError):
                os.unlink(old)


def _old(target: str) -> str:
    return beside(target, "replaced")


def _size(path: str) -> int | None:
    """Bytes of a regular file; None if there is none."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _sync(targets: list[str]) -> None:
    for folder in {os.path.dirname(target) for target in targets}:
        sync_folder(folder)


@contextlib.contextmanager
def _alone(targets: list[str]) -> Iterator[None]:
    """Keeps other runs from exchanging parts in the same folder: what lies there half replaced was left by a killed
    one. Not on Windows, nor where a folder cannot be locked, nor for one file, which needs none of this."""
    folder = os.path.dirname(targets[0]) or "."
    fd = -1
    with contextlib.suppress(OSError, ValueError):
        fd = os.open(folder, os.O_RDONLY) if os.name != "nt" and len(targets) > 1 else -1
    try:
        if fd >= 0:
            _lock(fd, folder)
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _lock(fd: int, folder: str) -> None:
    import fcntl

    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise GGUFError(
                    f"{shown(folder)}: locked by another process for {_PATIENCE:.0f} s; wait until that has ended"
                ) from None
            time.sleep(0.05)
        except OSError:  # no locks here
            return
