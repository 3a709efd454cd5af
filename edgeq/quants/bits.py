"""How blocks are cut: fields, bit planes, little-endian numbers. Shared by the format definitions next door.

All functions take uint8 arrays whose last axis runs along a block, and read them as little endian
on every machine.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Ints = NDArray[Any]
# What a format definition returns for blocks [N, nbytes]: integers [N, block], scales [N, k] and, for formats
# that have them, mins [N, k], where k divides block. The value of a weight is float32(scale * integer) + min.
Parts = tuple[Ints, F32, "F32 | None"]


def split(b: U8, *sizes: int) -> list[U8]:
    """Consecutive fields of `sizes` bytes that together make up the block."""
    ends = list(accumulate(sizes))
    assert ends[-1] == b.shape[-1]
    return [b[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]


def planes(b: U8, bits: int, run: int) -> U8:
    """[N, k] bytes as [N, 8 / bits * k] fields of `bits` bits.

    Within each run of `run` bytes the lowest bits of all bytes come first, then the next ones.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    out: U8 = (b.reshape(len(b), -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)
    return out.reshape(len(b), -1)


def u16(b: U8) -> NDArray[np.uint16]:
    """[N, 2k] bytes as k numbers."""
    return np.ascontiguousarray(b).view("<u2").astype(np.uint16, copy=False)


def u32(b: U8) -> NDArray[np.uint32]:
    """[N, 4k] bytes as k numbers."""
    return np.ascontiguousarray(b).view("<u4").astype(np.uint32, copy=False)


def half(b: U8) -> F32:
    """[N, 2k] bytes as k fp16 numbers, exact in float32."""
    return np.ascontiguousarray(b).view("<f2").astype(np.float32)


def single(b: U8) -> F32:
    """[N, 4k] bytes as k float32 numbers."""
    return np.ascontiguousarray(b).view("<f4").astype(np.float32, copy=False)


def e8m0_half(e: U8) -> F32:
    """Half of the power of two 2^(e - 127) that an E8M0 code stands for.

    Half, because E2M1 numbers are kept doubled to be integers. As in GGML, code 255 is 2^128 and not NaN.
    """
    wide = e.astype(np.uint32)
    normal = (np.maximum(wide, 1) - 1) << np.uint32(23)
    subnormal = np.uint32(0x00200000) << np.minimum(wide, 1)
    bits: NDArray[np.uint32] = np.where(wide < 2, subnormal, normal).astype(np.uint32)
    return bits.view(np.float32)


def ue4m3_half(x: U8) -> F32:
    """Half of the number that an unsigned E4M3 code stands for: 4 bits of exponent (bias 7), 3 of mantissa.

    As in GGML, the top bit is ignored and code 0x7F is 0, not NaN.
    """
    exponent = ((x >> 3) & 15).astype(np.int32)
    mantissa = (x & 7).astype(np.float32)
    value = np.where(exponent == 0, np.ldexp(mantissa, -10), np.ldexp(mantissa + 8, exponent - 11))
    return np.where(x == 0x7F, 0, value).astype(np.float32)
