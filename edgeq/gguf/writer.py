"""Writer: GGUF files from metadata and a stream of tensors, whole or split, replaced in one step.

Owns the layout of what is written; the bytes of headers are encode.py's, temporary files are partfile.py's.
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from edgeq import quants
from edgeq.errors import FormatError, UsageError, shown
from edgeq.gguf import limits
from edgeq.gguf.encode import encode_metadata, encode_table, typed
from edgeq.gguf.header import TensorInfo
from edgeq.gguf.journal import Journal, remove_left
from edgeq.gguf.metadata import Value
from edgeq.gguf.part import Part
from edgeq.gguf.partfile import PartFile, check_name, check_target
from edgeq.gguf.placing import place, settle
from edgeq.gguf.reader import open
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.gguf.split import part_name

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

_PIECE = 8 << 20  # bytes


def _digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def tensor_info(name: str, shape: Iterable[int], fmt: str | quants.Format) -> TensorInfo:
    """A row for the tensor table of a new file; `shape` is row-major. UsageError if GGUF cannot hold it."""
    what = f"tensor {shown(name)}"
    try:
        dims = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise UsageError(f"{what}: shape {shown(shape)}; expected integers") from None
    if len(dims) > limits.MAX_DIMS or not all(1 <= n <= limits.MAX_DIM for n in dims):
        raise UsageError(
            f"{what}: shape {shown(list(dims))}; expected at most {limits.MAX_DIMS} dimensions, each over 0"
        )
    found = quants.by_name(fmt)
    try:
        row = found.row_bytes(dims[-1] if dims else 1)
    except FormatError as e:
        raise UsageError(f"{what}: {e}") from None
    return TensorInfo(name, dims, found, 0, row * math.prod(dims[:-1]))


class Writer:
    """Writes a GGUF file: all names and shapes first, then the tensors' bytes in the same order.

        with Writer(path, metadata, [("output.weight", (n, k), "Q8_0"), …]) as w:
            w.write("output.weight", data)         # bytes, an array, or an iterable of such chunks

    The file appears under its name, complete and read back by the strict reader, when the block ends, the parts of a
    split model all together; an exception leaves nothing behind, and what was there as it was. `metadata` is a
    Metadata, or a mapping of plain values and gguf.Value. `sources` are the files that are read meanwhile: writing
    over one of them is refused. With `max_tensors` or `max_bytes` (of tensor data) per file the model is split;
    `paths` are the files that are written. `pad_end=False` leaves out the padding after the last tensor. `groups` are
    the numbers of tensors of each file where a model is to be split just so. With `resume`, a text that says what is
    made from what, a run that ends early leaves what it wrote, and the next one for the same text goes on from there:
    `done` tensors then need not be written again. Raises UsageError for arguments that make no GGUF file, GGUFError if
    the disk refuses.
    """

    def __init__(
        self,
        path: StrPath,
        metadata: Mapping[str, Any],
        tensors: Iterable[TensorInfo | tuple[str, Iterable[int], str | quants.Format]] = (),
        *,
        version: int = 3,
        overwrite: bool = False,
        sources: Iterable[StrPath] = (),
        max_tensors: int | None = None,
        max_bytes: int | None = None,
        pad_end: bool = True,
        groups: Sequence[int] | None = None,
        resume: str | None = None,
    ) -> None:
        if version not in (2, 3):
            raise UsageError(f"version {shown(version)}; GGUF files are written in version 2 or 3")
        self._version = version
        self._overwrite = overwrite
        self._pad_end = pad_end
        self._sources = tuple(os.fsdecode(s) for s in sources)
        infos = [t if isinstance(t, TensorInfo) else tensor_info(*t) for t in tensors]
        check_names(infos)
        self._plans = _plan(os.fsdecode(path), typed(metadata), infos, max_tensors, max_bytes, groups)
        for plan in self._plans:
            plan.encode(version)
        self.paths = tuple(plan.path for plan in self._plans)
        for path in self.paths:  # hours before the file gets it
            check_name(path)
        self._todo = [(i, t) for i, plan in enumerate(self._plans) for t in plan.tensors]
        self._next = 0
        self._files: list[PartFile] = []
        self._broken = False
        self._resume = resume
        self._journal: Journal | None = None

    @property
    def done(self) -> int:
        """How many tensors are written, in order."""
        return self._next

    def __enter__(self) -> Writer:
        if self._files:
            raise UsageError(f"{shown(self.paths[0])}: a Writer writes once; make another")
        settle(self.paths, self._overwrite, self._resume is not None)
        for path in self.paths:
            check_target(path, self._overwrite, self._sources)
        try:
            if self._resume is None:
                self._begin(0)
            else:
                self._go_on(self._resume)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, name: str, data: Any) -> None:
        """The bytes of tensor `name`, the next in order: a buffer, or an iterable of buffers."""
        if not self._files:
            raise UsageError("Writer.write: use the writer in a with statement")
        if self._broken:
            raise UsageError(f"tensor {shown(name)}: writing the tensor before it failed; start again")
        if self._next == len(self._todo):
            raise UsageError(f"tensor {shown(name)}: all {len(self._todo)} tensors are written already")
        index, info = self._todo[self._next]
        if name != info.name:
            raise UsageError(f"tensor {shown(name)}: out of order; expected {shown(info.name)}")
        while len(self._files) <= index:
            self._end()
            self._begin(len(self._files))
        self._broken = True  # until all its bytes are there
        digest = self._stream(self._files[-1], info, data)
        self._files[-1].write(bytes(self._padding(self._next)))
        self._broken = False
        self._next += 1
        if self._journal:
            self._journal.add(digest)

    def _padding(self, number: int) -> int:
        """Bytes behind the tensor with this number."""
        index, info = self._todo[number]
        last = number + 1 == len(self._todo) or self._todo[number + 1][0] != index
        return -info.nbytes % self._plans[index].alignment if self._pad_end or not last else 0

    def _stream(self, file: PartFile, info: TensorInfo, data: Any) -> str:
        """Writes the bytes of a tensor; their digest, if there is a journal."""
        done, hashed = 0, _digest()
        for chunk in _chunks(data, info.name):
            done += chunk.nbytes
            if done > info.nbytes:
                break
            file.write(chunk)
            if self._journal:
                hashed.update(chunk)
        if done != info.nbytes:
            amount = f"over {info.nbytes}" if done > info.nbytes else done
            raise UsageError(
                f"tensor {shown(info.name)}: got {amount} bytes; "
                f"{info.format.name} {list(info.shape)} has {info.nbytes}"
            )
        return hashed.hexdigest()

    def _go_on(self, what: str) -> None:
        """Opens the journal, and takes up what an earlier run wrote as far as it is what its digests say."""
        made = _digest()
        for plan in self._plans:
            made.update(plan.head)
        made.update(what.encode("utf-8", "surrogatepass"))
        self._journal = Journal(self.paths[0], made.hexdigest())
        there = self._begin(0)
        for digest in self._journal.digests[: len(self._todo)]:
            if not there or not self._taken_up(digest):
                break
            self._next += 1
        self._journal.settle(self._next)

    def _taken_up(self, digest: str) -> bool:
        """Whether the next tensor is there already."""
        index, info = self._todo[self._next]
        while len(self._files) <= index:
            self._end()
            if not self._begin(len(self._files)):
                return False
        file, hashed = self._files[-1], _digest()
        start, left = file.written, info.nbytes
        while left and (piece := file.kept_bytes(min(left, _PIECE))) is not None:
            hashed.update(piece)
            left -= len(piece)
        if left or hashed.hexdigest() != digest or file.kept_bytes(self._padding(self._next)) is None:
            file.back_to(start)
            return False
        return True

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._discard()

    def _begin(self, index: int) -> bool:
        """Opens a file, writes its header; whether an earlier run had done so."""
        plan = self._plans[index]
        head = plan.head if self._pad_end or plan.tensors else plan.head[: plan.head_bytes]
        file = PartFile(plan.path, len(plan.head) + plan.data_bytes, kept=self._journal is not None)
        self._files.append(file)
        if self._journal and file.kept_bytes(len(head)) == head:
            return True
        file.back_to(0)
        file.write(head)
        return False

    def _end(self) -> None:
        """Closes the last file and reads it back as any reader would."""
        file = self._files[-1]
        file.finish()
        if len(self._plans) == 1:
            open(file.path).close()
        else:
            Part(file.path).close()

    def _complete(self) -> None:
        if self._next < len(self._todo):
            missing = self._todo[self._next][1].name
            raise UsageError(
                f"tensor {shown(missing)}: not written, nor the {len(self._todo) - self._next - 1} after it"
            )
        self._end()
        place(self._files, self._overwrite, self._sources, self._resume is not None)
        if self._journal:
            self._journal.remove()
            self._journal = None
        else:
            remove_left(self.paths)

    def _discard(self) -> None:
        kept = self._journal is not None and not self._journal.empty
        for file in self._files:
            if kept:
                file.keep()
            else:
                file.discard()
        if self._journal and kept:
            self._journal.close()
        elif self._journal:
            self._journal.remove()


class Plan:
    """One file to write: `encode` lays it out."""

    def __init__(self, path: str, metadata: Mapping[str, Value], tensors: list[TensorInfo]) -> None:
        self.path = path
        self.metadata = metadata
        self.tensors = tensors
        self.alignment = _alignment(metadata)
        self.head = b""  # with padding up to the data
        self.head_bytes = 0  # without it
        self.data_bytes = 0

    def encode(self, version: int) -> None:
        if len(self.metadata) > limits.MAX_KEYS or len(self.tensors) > limits.MAX_TENSORS:
            raise UsageError(
                f"{shown(self.path)}: {len(self.metadata)} keys and {len(self.tensors)} tensors; "
                f"at most {limits.MAX_KEYS} and {limits.MAX_TENSORS} are possible"
            )
        table, self.data_bytes = encode_table(self.tensors, self.alignment)
        counts = struct.pack("<4sIQQ", b"GGUF", version, len(self.tensors), len(self.metadata))
        head = counts + encode_metadata(self.metadata) + table
        self.head_bytes = len(head)
        self.head = head + bytes(-len(head) % self.alignment)


def check_names(tensors: list[TensorInfo]) -> None:
    """UsageError if two tensors have one name."""
    seen = set()
    for t in tensors:
        if t.name in seen:
            raise UsageError(f"tensor {shown(t.name)}: given twice")
        seen.add(t.name)


def _alignment(metadata: Mapping[str, Value]) -> int:
    entry = metadata.get("general.alignment")
    if entry is None:
        return limits.DEFAULT_ALIGNMENT
    value = _number(entry) or 0
    good = limits.MIN_ALIGNMENT <= value <= limits.MAX_ALIGNMENT and not value & (value - 1)
    if entry.type != "u32" or not good:
        raise UsageError(
            f"metadata key general.alignment: found {entry.type} {shown(entry.value, 40)}; expected a u32 power of two "
            f"from {limits.MIN_ALIGNMENT} to {limits.MAX_ALIGNMENT}"
        )
    return value


def _number(entry: Value | None) -> int | None:
    """An integer, given as such or as bytes; None if it is none."""
    value = entry.value if entry else None
    if entry and entry.type[0] == "u" and isinstance(value, bytes):
        return int.from_bytes(value, "little")
    return value if isinstance(value, int) else None


def _plan(
    path: str,
    metadata: dict[str, Value],
    tensors: list[TensorInfo],
    max_tensors: int | None,
    max_bytes: int | None,
    sizes: Sequence[int] | None,
) -> list[Plan]:
    """The files to write: one, or as many as the limits ask for, named and keyed as llama.cpp does it."""
    if max_tensors is None and max_bytes is None and sizes is None:
        if (_number(metadata.get("split.count")) or 0) > 1:
            raise UsageError(f"{shown(path)}: metadata key split.count says that it is split; leave out the split keys")
        return [Plan(path, metadata, tensors)]
    groups = _given(tensors, sizes) if sizes else _groups(tensors, max_tensors, max_bytes, _alignment(metadata))
    if len(groups) > limits.MAX_PARTS:
        raise UsageError(
            f"{shown(path)}: {len(groups)} parts; at most {limits.MAX_PARTS} are possible, allow larger ones"
        )
    prefix = path.removesuffix(".gguf")
    plain = {k: v for k, v in metadata.items() if k not in SPLIT_KEYS}
    plans = []
    for i, group in enumerate(groups):
        numbers = (i, len(tensors), len(groups))
        keys = {key: Value(kind, n) for (key, kind), n in zip(SPLIT_KEYS.items(), numbers, strict=True)}
        # Later parts must say an unusual alignment too, as every file is read by its own header.
        head = plain if i == 0 else {k: v for k, v in plain.items() if k == "general.alignment"}
        plans.append(Plan(part_name(prefix, i, len(groups)), head | keys, group))
    return plans


def _given(tensors: list[TensorInfo], sizes: Sequence[int]) -> list[list[TensorInfo]]:
    """As many tensors in each file as `sizes` say."""
    if sum(sizes) != len(tensors) or min(sizes) < 0:
        raise UsageError(f"groups={shown(list(sizes))}: expected numbers of tensors that add up to {len(tensors)}")
    ends = list(accumulate(sizes))
    return [tensors[end - n : end] for n, end in zip(sizes, ends)]


def _groups(
    tensors: list[TensorInfo], max_tensors: int | None, max_bytes: int | None, alignment: int
) -> list[list[TensorInfo]]:
    for what, limit in (("max_tensors", max_tensors), ("max_bytes", max_bytes)):
        if limit is not None and limit < 1:
            raise UsageError(f"{what}={limit}; expected at least 1")
    groups: list[list[TensorInfo]] = [[]]
    size = 0
    for t in tensors:
        padded = -(-t.nbytes // alignment) * alignment
        full = max_bytes is not None and size + padded > max_bytes
        if groups[-1] and (full or (max_tensors is not None and len(groups[-1]) >= max_tensors)):
            groups.append([])
            size = 0
        groups[-1].append(t)
        size += padded
    return groups


def _chunks(data: Any, name: str) -> Iterator[memoryview]:
    """`data` as flat views, whether it is one buffer or an iterable of them."""
    what = f"tensor {shown(name)}: expected a C-contiguous buffer or an iterable of them, found"
    for chunk in (data,) if _is_buffer(data) or not isinstance(data, Iterable) else data:
        try:
            yield memoryview(chunk).cast("B")
        except (TypeError, ValueError):
            raise UsageError(f"{what} {type(chunk).__name__}") from None


def _is_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except (TypeError, ValueError):
        return False
    return True
