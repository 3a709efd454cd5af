"""A saved session: tokens with their keys and values, tied to the model they were made with.

Layout: magic, u32 length and CRC of a JSON header, the header, then one snapshot per sequence, each with its CRC in the header.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

from edgeq.errors import FormatError, shown

if TYPE_CHECKING:
    from edgeq.backends.base import State
    from edgeq.model import Model

MAGIC = b"EDGEQKV1"
MAX_HEADER = 1 << 28


def fingerprint(model: Model, state: State) -> str:
    """What must agree for keys and values to mean the same: program, tensors in the file, KV type and rings."""
    tensors = [(t.name, t.format.name, t.shape, t.part, t.offset) for t in model.file.tensors.values()]
    sizes = [part.size for part in model.file.parts]
    text = repr((str(model.plain), tensors, sizes, model.kv_type, state.rings, type(state).__name__))
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Any, model: Model, state: State, tokens: list[list[int]], written: list[int], extra: Any) -> None:
    """Atomic: the file appears whole under its name or not at all."""
    blobs = [state.snapshot(s, n) if n else b"" for s, n in enumerate(written)]
    header = json.dumps({
        "fingerprint": fingerprint(model, state), "tokens": tokens, "written": written, "extra": extra,
        "sizes": [len(b) for b in blobs], "crc": [zlib.crc32(b) for b in blobs],
    }).encode()  # fmt: skip
    part = f"{os.fspath(path)}.part-{os.getpid()}"
    try:
        with open(part, "xb") as f:
            f.write(MAGIC + struct.pack("<II", len(header), zlib.crc32(header)) + header)
            for blob in blobs:
                f.write(blob)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def read(path: Any, model: Model, state: State, context: int) -> tuple[list[list[int]], list[int], Any]:
    """Tokens, written positions and extra. Raises FormatError naming what is wrong; the state is untouched then."""
    name = shown(os.fspath(path))
    try:
        with open(path, "rb") as f:
            data = f.read()
    except OSError as e:
        raise FormatError(f"{name}: cannot be read: {e.strerror}") from None
    if data[:8] != MAGIC or len(data) < 16:
        raise FormatError(f"{name}: not a saved session")
    length, crc = struct.unpack_from("<II", data, 8)
    if length > min(MAX_HEADER, len(data) - 16) or zlib.crc32(data[16 : 16 + length]) != crc:
        raise FormatError(f"{name}: the header of this saved session is damaged")
    try:
        header = json.loads(data[16 : 16 + length])
        tokens, written, sizes, sums = (header[k] for k in ("tokens", "written", "sizes", "crc"))
        sound = header["fingerprint"] == fingerprint(model, state)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(f"{name}: the header of this saved session is damaged") from None
    if not sound:
        raise FormatError(f"{name}: saved with another model, context, KV type or backend than this session has")
    _check(name, model, tokens, written, sizes, sums, state.sequences, context)
    at, blobs = 16 + length, []
    for size, wanted in zip(sizes, sums):
        blobs.append(data[at : at + size])
        at += size
        if len(blobs[-1]) != size or zlib.crc32(blobs[-1]) != wanted:
            raise FormatError(f"{name}: the keys and values in this saved session are damaged")
    for sequence, (blob, n) in enumerate(zip(blobs, written)):
        if n:
            state.restore(sequence, blob, n)
    return tokens, written, header["extra"]


def _check(name: str, model: Model, tokens: Any, written: Any, sizes: Any, sums: Any, sequences: int, context: int) -> None:
    def numbers(x: Any, high: int) -> bool:
        return isinstance(x, list) and all(type(i) is int and 0 <= i <= high for i in x)

    right = (
        isinstance(tokens, list) and len(tokens) == sequences and all(numbers(t, model.vocab - 1) for t in tokens)
        and numbers(written, context) and numbers(sizes, 1 << 62) and numbers(sums, (1 << 32) - 1)
        and len(written) == len(sizes) == len(sums) == sequences
        and all(len(t) <= n for t, n in zip(tokens, written))
    )  # fmt: skip
    if not right:
        raise FormatError(f"{name}: the header of this saved session does not fit this session")
