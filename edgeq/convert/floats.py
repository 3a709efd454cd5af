"""Floats of checkpoints as float32: F64, F32, F16, BF16, FP8. The way back is `edgeq.quants`' affair."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def decode(raw: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Numbers of a checkpoint, `raw` of the NumPy type of DTYPES, as float32; exact but for F64."""
    out: NDArray[np.float32]
    if dtype == "BF16":
        out = np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)
    elif dtype == "F8_E4M3":
        out = _e4m3()[raw]
    elif dtype == "F8_E5M2":
        out = np.left_shift(raw, 8, dtype=np.uint16).view(np.float16).astype(np.float32)
    else:
        out = raw.astype(np.float32)
    return out


@cache
def _e4m3() -> NDArray[np.float32]:
    """Value of every byte: sign, 4 bits of exponent (bias 7), 3 of fraction; no infinities, 0x7F and 0xFF are NaN
    (OCP 8-bit Floating Point Specification, revision 1.0)."""
    code = np.arange(256)
    exponent, fraction = code >> 3 & 15, code & 7
    size = np.where(exponent == 0, fraction * 2.0**-9, (8 + fraction) * 2.0 ** (exponent - 10.0))
    size[[0x7F, 0xFF]] = np.nan
    return np.where(code & 128, -size, size).astype(np.float32)
