"""Edits of a file's metadata and of its tensors' names. Owns the question of what may be written where.

A file is edited in place only if all that changes lies in one aligned sector of 512 bytes: that is one write
within one page, which a killed process has done whole or not at all, and which a disk does not tear when the
power fails. All else would be a broken file in between. It goes through a temporary file beside the old one,
which takes over the name when the strict reader has read it: one that shares the old one's blocks where the
filesystem can do that and the tensors stay where they are, else a copy, made inside the kernel.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeq.errors import GGUFError, UsageError, shown
from edgeq.gguf.cursor import Cursor
from edgeq.gguf.encode import infer
from edgeq.gguf.header import TensorInfo, read_header
from edgeq.gguf.metadata import Metadata, Value
from edgeq.gguf.part import Part
from edgeq.gguf.partfile import PartFile, check_target
from edgeq.gguf.reader import GGUFFile, open
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.gguf.writer import Plan, check_names

if TYPE_CHECKING:
    from edgeq.gguf.part import Fingerprint
    from edgeq.gguf.reader import StrPath

SECTOR = 512  # bytes; every disk writes so many at once or none


class Change(NamedTuple):
    """One key that an edit touches: what it was, None if it was not there, and what it is, None if it is gone."""

    key: str
    old: Value | None
    new: Value | None


class Edit(NamedTuple):
    """What an edit did, or would do. `how` is "nothing" (the file says so already), "in place" or "rewrite";
    `path` is the file that is written."""

    path: str
    how: str
    changes: tuple[Change, ...]


def edit(
    path: StrPath,
    *,
    set: Mapping[str, Any] | None = None,
    unset: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    rename_tensors: Mapping[str, str] | None = None,
    output: StrPath | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Edit:
    """Changes metadata and names of tensors of the file at `path`, or of a copy of it at `output`.

    Order: `unset` removes keys, `rename` gives keys other names in their places, `set` gives values: a gguf.Value
    as it is, another one in the type that the key has already or else in the one that the Writer would choose;
    new keys come last. All of it is done, or nothing, at whatever moment the process dies. Of a split model the
    part that holds what is changed is edited: the first for metadata. Everything else in the file stays, byte for
    byte; if `general.alignment` is changed, the tensors move.

    Raises UsageError for a key or tensor that is not there, a name that is taken, a value that does not fit, and
    keys that say how a model is split; GGUFError if the file cannot be read or written, was changed meanwhile, or
    could not be read afterwards: in each case the file is as it was.
    """
    with open(path) as g:
        part = g.parts[_which(g, rename_tensors or {}, bool(set or unset or rename))]
        old = part.header.metadata.typed()
        new = _changed(old, set or {}, unset, rename or {})
        target = _target(g, part, output, overwrite)
        work = _Work(part, new, _renamed(g, part, rename_tensors or {}))
        how = "rewrite" if output is not None else work.how
        found = Edit(target, how, tuple(_changes(part.header.metadata, work.header.metadata)))
        if dry_run or how == "nothing":
            return found
        if how == "rewrite":
            file = work.rewrite(target, like_it=output is None)
    # Closed here: Windows replaces no file that is open.
    if how == "in place":
        _patch(part, *work.sector)
    else:
        _commit(file, part, None if output is None else overwrite)
    return found


def _which(g: GGUFFile, tensors: Mapping[str, str], metadata: bool) -> int:
    """The part to edit. UsageError for tensors that are not there and edits that touch several parts."""
    for name in tensors:
        if name not in g.tensors:
            raise UsageError(f"{shown(g.path)}: no tensor {shown(name)}{_near(name, g.tensors)}")
    parts = {g.tensors[name].part for name in tensors} | ({0} if metadata or not tensors else set())
    if len(parts) > 1:
        raise UsageError(
            f"{shown(g.path)}: what is to be changed lies in {len(parts)} parts of a split model, which cannot be "
            "replaced at one moment; make several edits, or merge it first"
        )
    return parts.pop()


def _near(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known; looks at few and short ones, as a file may hold any number."""
    near = difflib.get_close_matches(name[:64], [k for k in known if len(k) <= 64][:2000], n=1)
    return f"; did you mean {shown(near[0])}?" if near else ""


def _changed(
    old: Mapping[str, Value], values: Mapping[str, Any], unset: Iterable[str], rename: Mapping[str, str]
) -> dict[str, Value]:
    """The metadata that is to be. A key is removed, then renamed, then set."""
    new = dict(old)
    for key in unset:
        _refuse_split(key)
        if key in old and key not in new:
            raise UsageError(f"metadata key {shown(key)}: given twice, the second time it is not there any more")
        _need(new, key)
        del new[key]
    for key, name in rename.items():
        _refuse_split(key)
        _refuse_split(name)
        _need(new, key)
        if name in new:
            raise UsageError(f"metadata key {shown(name)}: is there already; unset it first")
        new = {name if k == key else k: v for k, v in new.items()}
    for key, value in values.items():
        _refuse_split(key)
        if key in new and not isinstance(value, Value):
            value = Value(new[key].type, value)
        new[key] = infer(key, value)
    return new


def _need(metadata: Mapping[str, Value], key: str) -> None:
    if key not in metadata:
        raise UsageError(f"metadata key {shown(key)}: is not there{_near(key, metadata)}")


def _refuse_split(key: str) -> None:
    if key in SPLIT_KEYS:
        raise UsageError(f"metadata key {key}: says how the model is split; split or merge it instead")


def _renamed(g: GGUFFile, part: Part, names: Mapping[str, str]) -> list[TensorInfo]:
    """The tensor table of `part` with other names. UsageError if a name is taken, also by another part."""
    taken = g.tensors.keys() - names.keys()
    for name in names.values():
        if name in taken:
            raise UsageError(f"tensor {shown(name)}: is there already; rename that one first")
    infos = [t.replace(name=names.get(t.name, t.name)) for t in part.header.tensors]
    check_names(infos)
    return infos


def _target(g: GGUFFile, part: Part, output: StrPath | None, overwrite: bool) -> str:
    """The path that is written. UsageError if it may not be."""
    if output is None:
        if not os.access(part.path, os.W_OK):
            raise UsageError(f"{part.shown}: is read-only; make it writable, or write another file")
        return part.path
    if len(g.parts) > 1:
        raise UsageError(
            f"{shown(g.path)}: is split into {len(g.parts)} parts, a part alone is no model; merge it to another "
            "file and edit that, or edit it where it is"
        )
    target = os.fsdecode(output)
    check_target(target, overwrite, (part.path,))
    return target


def _changes(old: Metadata, new: Metadata) -> Iterable[Change]:
    for key in [*old, *(k for k in new if k not in old)]:
        before, after = (Value(m.type(key), m[key]) if key in m else None for m in (old, new))
        same = before and after and before.type == after.type and old.raw(key) == new.raw(key)
        if not same:
            yield Change(key, before, after)


class _Work:
    """The new header beside the old one, and what has to be written. Nothing is written before it is asked for."""

    def __init__(self, part: Part, metadata: dict[str, Value], tensors: list[TensorInfo]) -> None:
        self.part = part
        header = part.header
        plan = Plan(part.path, metadata, tensors)
        plan.encode(header.version)
        old = part.read(0, min(header.data_offset, part.size))  # a file without tensors may end without padding
        self.head = plan.head if part.size >= header.data_offset else plan.head[: plan.head_bytes]
        self.alignment = plan.alignment
        self.stays = len(self.head) == len(old) and plan.alignment == header.alignment
        if self.stays and plan.head_bytes == header.table_end:  # the padding is not ours to change
            self.head = self.head[: plan.head_bytes] + old[plan.head_bytes :]
        self.sector = (0, b"")
        self.how = self._how(old)
        size = len(self.head) + sum(n + pad for _, n, pad in self._pieces())
        self.header = read_header(Cursor(io.BytesIO(self.head).read, size, f"{part.shown}, edited"))

    def _how(self, old: bytes) -> str:
        """How the change can be made; fills in `sector`, byte offset and new bytes, where it is in place."""
        if not self.stays:
            return "rewrite"
        head = self.head
        touched = [i for i in range(0, len(head), SECTOR) if head[i : i + SECTOR] != old[i : i + SECTOR]]
        if not touched:
            return "nothing"
        if len(touched) > 1:
            return "rewrite"
        self.sector = (touched[0], head[touched[0] : touched[0] + SECTOR])
        return "in place"

    def _pieces(self) -> list[tuple[int, int, int]]:
        """What follows the header: byte offset in the old file, bytes, bytes of padding after them."""
        header, size = self.part.header, self.part.size
        if self.alignment == header.alignment:
            return [(header.data_offset, max(0, size - header.data_offset), 0)]
        return [(t.offset, t.nbytes, -t.nbytes % self.alignment) for t in header.tensors]

    def rewrite(self, target: str, like_it: bool) -> PartFile:
        """The new file under its temporary name, complete and read by the strict reader."""
        file = PartFile(target, 0)
        try:
            if like_it:
                file.belong_like(self.part)
            if self.stays and file.clone(self.part):
                file.overwrite(self.head)
            else:
                file.reserve(len(self.head) + sum(n + pad for _, n, pad in self._pieces()))
                file.write(self.head)
                for offset, n, pad in self._pieces():
                    file.copy(self.part, offset, n)
                    file.write(bytes(pad))
            file.finish()
            Part(file.path).close()
            return file
        except BaseException:
            file.discard()
            raise


def _commit(file: PartFile, part: Part, overwrite: bool | None) -> None:
    """Puts the new file in its place; `overwrite` is None if that is the old one's."""
    try:
        if not _is_still(part):
            raise _meanwhile(part)
        if overwrite is not None:
            check_target(file.target, overwrite, (part.path,))
        file.commit()
    finally:
        file.discard()


def _patch(part: Part, offset: int, data: bytes) -> None:
    """Writes at most one sector into the file where it lies."""
    try:
        fd = os.open(part.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            if _fingerprint(os.fstat(fd)) != part.fingerprint:
                raise _meanwhile(part)
            os.lseek(fd, offset, os.SEEK_SET)
            if os.write(fd, data) != len(data):
                raise OSError("the disk took a part of the sector")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        raise GGUFError(f"{part.shown}: cannot be written: {shown(e.strerror or e)}") from None
    Part(part.path).close()


def _fingerprint(s: os.stat_result) -> Fingerprint:
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns


def _is_still(part: Part) -> bool:
    """Whether the path names the file that was read, unchanged."""
    try:
        fd = os.open(part.path, os.O_RDONLY)  # fstat, as Part did: Windows' stat says other numbers
    except OSError:
        return False
    try:
        return _fingerprint(os.fstat(fd)) == part.fingerprint
    finally:
        os.close(fd)


def _meanwhile(part: Part) -> GGUFError:
    return GGUFError(f"{part.shown}: the file was changed by someone else meanwhile; it was left alone, try again")
