"""A saved session: tokens with their keys and values, tied to the model they were made with.

Layout: magic, u32 length and CRC of a JSON header, the header, then one snapshot per sequence, each with
its CRC in the header.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from edgeq.errors import FormatError, UsageError, shown

if TYPE_CHECKING:
    from edgeq.backends.base import State
    from edgeq.model import Model

MAGIC = b"EDGEQKV1"
EXTRA = 1 << 24  # bytes that `extra` may have in the header
DAMAGED = "the header of this saved session is damaged"


class Saved(NamedTuple):
    """Per sequence: token ids, positions its caches were ever given, and their bytes; and what the caller
    added."""

    tokens: list[list[int]]
    written: list[int]
    blobs: list[bytes]
    extra: Any


def fingerprint(model: Model, state: State) -> str:
    """What must agree for keys and values to mean the same: program, tensors in the file, adapters, KV type,
    rings and layout."""
    tensors = [(t.name, t.format.name, t.shape, t.part, t.offset) for t in model.file.tensors.values()]
    sizes = [part.size for part in model.file.parts]
    text = repr((str(model.plain), tensors, sizes, model.kv_type, state.rings, state.layout))
    text += model.weights.digest()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write(
    path: Any, model: Model, state: State, tokens: list[list[int]], written: list[int], extra: Any
) -> None:
    """Atomic: the file appears whole under its name or not at all. Raises UsageError where it cannot be
    written."""
    name = _name(path)
    blobs = [state.snapshot(s, n) if n else b"" for s, n in enumerate(written)]
    try:
        kept = json.dumps(extra)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{shown(name)}: what is saved with a session must be JSON: {shown(error)}"
        ) from None
    if len(kept) > EXTRA:
        raise UsageError(f"{shown(name)}: {len(kept)} bytes to save with a session, more than {EXTRA}")
    header = json.dumps({
        "fingerprint": fingerprint(model, state), "tokens": tokens, "written": written, "extra": extra,
        "sizes": [len(b) for b in blobs], "crc": [zlib.crc32(b) for b in blobs],
    }).encode()  # fmt: skip
    part = f"{name}.part-{os.getpid()}-{os.urandom(4).hex()}"
    made = False
    try:
        if os.path.lexists(name) and not os.path.isfile(name):
            raise UsageError(f"{shown(name)}: is no regular file; a session is not written over it")
        with open(part, "xb") as f:
            made = True
            f.write(MAGIC + struct.pack("<II", len(header), zlib.crc32(header)) + header)
            for blob in blobs:
                f.write(blob)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, name)
        made = False
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{shown(name)}: cannot be written: {shown(reason)}") from None
    finally:
        if made:
            with contextlib.suppress(OSError):
                os.unlink(part)


def read(path: Any, model: Model, state: State, context: int) -> Saved:
    """What a file holds. Raises FormatError naming what is wrong; nothing is allocated because a header
    says so."""
    name = shown(_name(path))
    try:
        with _open(_name(path), name) as f:
            return _read(f, name, model, state, context)
    except (OSError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{name}: cannot be read: {shown(getattr(error, 'strerror', None) or error)}"
        ) from None


def _name(path: Any) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise UsageError(f"path: expected str, bytes or os.PathLike, found {type(path).__name__}") from None


def _open(path: str, name: str) -> BinaryIO:
    # O_NONBLOCK: opening a FIFO would wait for its writer.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FormatError(f"{name}: not a saved session")
    return open(fd, "rb")


def _read(f: BinaryIO, name: str, model: Model, state: State, context: int) -> Saved:
    start, size = f.read(16), os.fstat(f.fileno()).st_size
    if start[:8] != MAGIC or len(start) < 16:
        raise FormatError(f"{name}: not a saved session")
    length, crc = struct.unpack_from("<II", start, 8)
    most = EXTRA + 64 * state.sequences + 16 * state.sequences * context
    text = f.read(length) if length <= min(most, size - 16) else b""
    if len(text) != length or zlib.crc32(text) != crc:
        raise FormatError(f"{name}: {DAMAGED}")
    try:
        header = json.loads(text)
        tokens, written, sizes, sums = (header[k] for k in ("tokens", "written", "sizes", "crc"))
        extra, sound = header["extra"], header["fingerprint"] == fingerprint(model, state)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(f"{name}: {DAMAGED}") from None
    if not sound:
        raise FormatError(
            f"{name}: saved with another model, context, KV type or backend than this session has"
        )
    _check(name, model, tokens, written, sizes, sums, state.sequences, context)
    if sum(sizes) != size - 16 - length:
        raise FormatError(
            f"{name}: the keys and values in this saved session are cut off, or something follows them"
        )
    if sum(sizes) > state.nbytes + 4096 * state.sequences:
        raise FormatError(f"{name}: {sum(sizes)} bytes of keys and values, this session has {state.nbytes}")
    blobs = []
    for n, wanted in zip(sizes, sums, strict=True):
        blobs.append(f.read(n))
        if len(blobs[-1]) != n or zlib.crc32(blobs[-1]) != wanted:
            raise FormatError(f"{name}: the keys and values in this saved session are damaged")
    return Saved(tokens, written, blobs, extra)


def _check(
    name: str, model: Model, tokens: Any, written: Any, sizes: Any, sums: Any, sequences: int, context: int
) -> None:
    def numbers(x: Any, high: int) -> bool:
        return isinstance(x, list) and all(type(i) is int and 0 <= i <= high for i in x)

    right = (
        isinstance(tokens, list) and len(tokens) == sequences
        and all(numbers(t, model.vocab - 1) for t in tokens)
        and numbers(written, context) and numbers(sizes, 1 << 62) and numbers(sums, (1 << 32) - 1)
        and len(written) == len(sizes) == len(sums) == sequences
        and all(len(t) <= n for t, n in zip(tokens, written, strict=True))
    )  # fmt: skip
    if not right:
        raise FormatError(f"{name}: the header of this saved session does not fit this session")
