"""The native library's encoders and decoders of whole rows. Both run without the GIL: threads share the work."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from edgeq import _lib
from edgeq.errors import BackendError, shown
from edgeq.quants.bits import F32, U8
from edgeq.quants.table import Format


def encode_rows(x: F32, fmt: Format, importance: F32 | None, out: U8) -> None:
    """Rows x, float32 [R, n], into `out`, uint8 [R, bytes of a row]; importance float32 [n]. All C-contiguous."""
    ffi, lib = _lib.ffi, _lib.lib
    isa = os.environ.get("EDGEQ_ISA")
    weights = ffi.NULL if importance is None else ffi.from_buffer("float[]", importance)
    status = lib.eq_encode(
        fmt.id, ffi.NULL if isa is None else isa.encode(), ffi.from_buffer("float[]", x), len(x), x.shape[1],
        weights, ffi.from_buffer("uint8_t[]", out, require_writable=True),
    )  # fmt: skip
    if status and isa is not None and lib.eq_isa_name(isa.encode()) == ffi.NULL:
        raise BackendError(f"EDGEQ_ISA={shown(isa, 40)}: not a variant that runs here; see edgeq doctor")
    if status:
        raise BackendError(f"{fmt.name}: the native encoder refused {len(x)} rows of {x.shape[1]} (status {status})")


def decode_rows(data: U8, fmt: Format) -> F32:
    """Rows of a format that linears take, uint8 [R, bytes of a row], as float32 [R, n]."""
    ffi, lib = _lib.ffi, _lib.lib
    rows, n = len(data), data.shape[1] // fmt.nbytes * fmt.block
    out = np.empty((rows, n), np.float32)
    if not out.size:
        return out
    buffer = ffi.from_buffer("uint8_t[]", data)
    tensor = ffi.new("eq_tensor *", {"data": buffer, "nbytes": data.nbytes, "rows": rows, "cols": n, "type": fmt.id})
    status = lib.eq_dequantize(tensor, 0, rows, ffi.from_buffer("float[]", out, require_writable=True))
    if status:
        raise BackendError(f"{fmt.name}: the native decoder refused {rows} rows of {n} (status {status})")
    return out


def block_sums(x: F32, data: U8, fmt: Format, importance: F32 | None) -> NDArray[np.float64]:
    """Of rows x [R, n] and their blocks `data`: sums of w x² and of w x x̂, float64 [blocks, 2]; importance [n]."""
    ffi, lib = _lib.ffi, _lib.lib
    out = np.empty((x.size // fmt.block, 2))
    weights = ffi.NULL if importance is None else ffi.from_buffer("float[]", importance)
    status = lib.eq_block_sums(
        fmt.id, ffi.from_buffer("float[]", x), ffi.from_buffer("uint8_t[]", data), len(x), x.shape[1], weights,
        ffi.from_buffer("double[]", out, require_writable=True),
    )  # fmt: skip
    if status:
        raise BackendError(f"{fmt.name}: the native library refused {len(x)} rows of {x.shape[1]} (status {status})")
    return out


def available() -> bool:
    """Whether there is a library to call."""
    return _lib.available()


def build() -> str:
    """A digest of the library, empty where there is none."""
    import hashlib

    try:
        with open(_lib.path(), "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    except OSError:
        return ""
