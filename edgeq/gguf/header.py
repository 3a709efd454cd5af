"""The header of one GGUF file: version, metadata, tensor table, all checked against the file's size.

Owns the rules of the container. Opening and mapping files is reader.py's, split models are split.py's.
"""

from __future__ import annotations

import math
import struct

from edgeq import quants
from edgeq.errors import FormatError, GGUFError
from edgeq.gguf import limits
from edgeq.gguf.arrays import NumberArray, StringArray, scan_strings
from edgeq.gguf.cursor import Cursor, said
from edgeq.gguf.metadata import Metadata
from edgeq.gguf.sniff import looks_like
from edgeq.gguf.types import CODES, TYPES, WIDTHS
from edgeq.quants import Format
from edgeq.record import Record

_ROWS = [struct.Struct(f"<{n}QiQ") for n in range(limits.MAX_DIMS + 1)]  # dimensions, type id, offset
_SCALARS = {name: struct.Struct("<" + code) for name, code in CODES.items()}


class TensorInfo(Record):
    """One row of the tensor table. `shape` is row-major; `offset` counts bytes from the start of the file."""

    name: str
    shape: tuple[int, ...]
    format: Format
    offset: int
    nbytes: int


class Header:
    """What the start of a file says. Tensors are in bytes [data_offset, data_end), final padding excluded."""

    def __init__(self, version: int, alignment: int, metadata: Metadata) -> None:
        self.version = version
        self.alignment = alignment
        self.metadata = metadata
        self.tensors: list[TensorInfo] = []
        self.table_end = self.data_offset = self.data_end = 0


def read_header(c: Cursor) -> Header:
    """Reads and checks everything before the tensor data. Raises GGUFError naming file, object and byte."""
    version = _version(c)
    n_tensors = c.u64("tensor count")
    n_keys = c.u64("metadata count")
    _check_count(c, "tensor count", n_tensors, limits.MIN_TENSOR_ENTRY, limits.MAX_TENSORS, 8)
    _check_count(c, "metadata count", n_keys, limits.MIN_KEY_ENTRY, limits.MAX_KEYS, 16)
    metadata = _metadata(c, n_keys)
    header = Header(version, _alignment(c, metadata), metadata)
    rows = _tensor_rows(c, n_tensors)
    header.table_end = c.pos
    _place(c, header, rows)
    return header


def _version(c: Cursor) -> int:
    if c.buf[:4] != b"GGUF":
        raise GGUFError(f"{c.name}: {looks_like(c.buf[:4096], c.size)}")
    c.pos = 4
    version = c.u32("version")
    swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
    if version > 3 and swapped <= 0xFFFF:
        raise c.error(
            f"a big-endian file (version {swapped} in the other byte order); "
            "only little-endian GGUF is supported, convert the model again",
            4,
        )
    if version not in (2, 3):
        way_out = "convert the model again" if version < 2 else "it needs a newer edgeq, or the file is broken"
        raise c.error(f"GGUF version {version}; versions 2 and 3 are supported, {way_out}", 4)
    return version


def _check_count(c: Cursor, what: str, n: int, entry: int, limit: int, at: int) -> None:
    if n > c.left // entry:
        raise c.error(
            f"{what} is {n}, the {c.left} bytes left hold at most {c.left // entry}; "
            "the file is cut short or broken, download it again",
            at,
        )
    if n > limit:
        raise c.error(f"{what} is {n}; at most {limit} are supported", at)


def _metadata(c: Cursor, n: int) -> Metadata:
    metadata = Metadata()
    strings = 0
    for i in range(n):
        at = c.pos
        key = c.label(f"metadata key {i}", limits.MAX_KEY_BYTES)
        if key in metadata:
            raise c.error(f"metadata key {said(key)} appears twice", at)
        kind = _type_name(c, c.u32(f"type of key {said(key)}"), f"key {said(key)}: value type")
        if kind == "array":
            strings += _array(c, key, metadata, limits.MAX_STRINGS - strings)
        elif kind == "string":
            raw = c.string(f"the string of key {said(key)}")
            metadata._put(key, kind, raw.decode("utf-8", "surrogateescape"), raw)
        else:
            raw = c.take(WIDTHS[kind], f"the value of key {said(key)}")
            if kind == "bool":
                _check_bools(c, raw, key)
            metadata._put(key, kind, _SCALARS[kind].unpack(raw)[0], raw)
    return metadata


def _type_name(c: Cursor, id: int, what: str) -> str:
    if id >= len(TYPES):
        raise c.error(f"{what} {id} is unknown; GGUF has types 0 to {len(TYPES) - 1}", c.pos - 4)
    return TYPES[id]


def _array(c: Cursor, key: str, metadata: Metadata, strings_left: int) -> int:
    """Reads the array of `key` into `metadata`; how many strings it holds."""
    what = f"array of key {said(key)}"
    kind = _type_name(c, c.u32(f"element type of the {what}"), f"key {said(key)}: element type")
    if kind == "array":
        raise c.error(f"key {said(key)}: nested arrays (an array of arrays) are not supported", c.pos - 4)
    n = c.u64(f"count of the {what}")
    width = WIDTHS.get(kind, 8)
    if n > c.left // width:
        raise c.error(
            f"the {what} has a count of {n} {kind}, the {c.left} bytes left hold at most {c.left // width}; "
            "the file is cut short or broken, download it again",
            c.pos - 8,
        )
    if kind == "string":
        if n > strings_left:
            raise c.error(
                f"the {what} has a count of {n}; at most {limits.MAX_STRINGS} strings are supported",
                c.pos - 8,
            )
        strings = _strings(c, n, what)
        metadata._put(key, "array[string]", strings, strings.raw)
        return n
    raw = c.take(n * width, f"the {what}")
    if kind == "bool":
        _check_bools(c, raw, key)
    metadata._put(key, f"array[{kind}]", NumberArray(raw, kind), raw)
    return 0


def _strings(c: Cursor, n: int, what: str) -> StringArray:
    start = c.pos
    while True:
        ends = scan_strings(c.buf, start, n)
        end = start + (ends[-1] if ends else 0)
        c.pos = end
        if len(ends) == n:
            return StringArray(c.buf[start:end], ends)
        # The next string is beyond the bytes read so far (reading it fetches more), or beyond the file.
        c.string(f"string {len(ends)} in the {what}")


def _check_bools(c: Cursor, raw: bytes, key: str) -> None:
    bad = raw.translate(None, b"\0\1")
    if bad:
        raise c.error(f"key {said(key)}: a bool is {bad[0]}; expected 0 or 1", c.pos - len(raw))


def _alignment(c: Cursor, metadata: Metadata) -> int:
    key = "general.alignment"
    if key not in metadata:
        return limits.DEFAULT_ALIGNMENT
    if metadata.type(key) != "u32":
        raise c.error(f"key {key} has type {metadata.type(key)}; expected u32")
    alignment: int = metadata[key]
    if not limits.MIN_ALIGNMENT <= alignment <= limits.MAX_ALIGNMENT or alignment & (alignment - 1):
        raise c.error(
            f"key {key} is {alignment}; expected a power of two from {limits.MIN_ALIGNMENT} to {limits.MAX_ALIGNMENT}"
        )
    return alignment


def _tensor_rows(c: Cursor, n: int) -> list[tuple[str, tuple[int, ...], Format, int]]:
    """The tensor table as (name, row-major shape, format, offset as written)."""
    rows = []
    seen = set()
    for i in range(n):
        at = c.pos
        name = c.label(f"the name of tensor {i}", limits.MAX_NAME_BYTES)
        if name in seen:
            raise c.error(f"tensor {said(name)} appears twice", at)
        seen.add(name)
        what = f"tensor {said(name)}"
        n_dims = c.u32(f"{what}: dimension count")
        if n_dims > limits.MAX_DIMS:
            raise c.error(f"{what} has {n_dims} dimensions; at most {limits.MAX_DIMS} are possible", c.pos - 4)
        c.ensure(8 * n_dims + 12, f"{what}: its dimensions, type and offset")
        *dims, id, offset = _ROWS[n_dims].unpack_from(c.buf, c.pos)
        for d, dim in enumerate(dims):
            if not 1 <= dim <= limits.MAX_DIM:
                raise c.error(f"{what}: dimension {d} is {dim}; expected 1 to {limits.MAX_DIM}", at)
        try:
            fmt = quants.by_id(id)
        except FormatError as e:
            raise c.error(f"{what}: {e}", c.pos + 8 * n_dims) from None
        c.pos += 8 * n_dims + 12
        rows.append((name, tuple(reversed(dims)), fmt, offset))
    return rows


def _place(c: Cursor, header: Header, rows: list[tuple[str, tuple[int, ...], Format, int]]) -> None:
    """Checks that the tensors lie one after the other, aligned, inside the file; fills in the header."""
    align = header.alignment
    header.data_offset = -(-c.pos // align) * align
    header.data_end = header.data_offset if rows else c.pos
    due = 0  # where the next tensor must begin, from data_offset
    for name, shape, fmt, offset in rows:
        what = f"{c.name}: tensor {said(name)}"
        row = shape[-1] if shape else 1
        if row % fmt.block:
            raise GGUFError(f"{what}: rows of {row} weights; {fmt.name} needs a multiple of {fmt.block}")
        nbytes = fmt.row_bytes(row) * math.prod(shape[:-1])
        start = header.data_offset + offset
        if offset != due:
            fault = _fault(offset, due, align)
            raise GGUFError(f"{what}: offset {offset} {fault}; expected {due}, the file is broken, convert it again")
        if start + nbytes > c.size:
            raise GGUFError(
                f"{what}: {fmt.name} {list(shape)} needs {nbytes} bytes at byte {start}, the file ends at "
                f"{c.size}; it is cut short or broken, download it again"
            )
        header.tensors.append(TensorInfo(name, shape, fmt, start, nbytes))
        header.data_end = start + nbytes
        due = -(-(offset + nbytes) // align) * align


def _fault(offset: int, due: int, align: int) -> str:
    if offset % align:
        return f"is no multiple of the alignment {align}"
    return "overlaps the tensor before it" if offset < due else "leaves a gap after the tensor before it"
