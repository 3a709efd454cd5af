"""From bytes to numbers: applies the format definitions to whole tensors, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import FormatError, UsageError
from edgeq.quants import fp4, iquants, kquants, legacy, ternary
from edgeq.quants.bits import F32, U8, Parts, e8m0_half, ue4m3_half
from edgeq.quants.table import Format

_PIECE = 1 << 18  # weights per piece: temporaries stay in cache and small beside the result

_PLAIN = {"F32": "<f4", "F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}

_PARTS: dict[str, Callable[[U8], Parts]] = {
    "Q4_0": legacy.q4_0, "Q4_1": legacy.q4_1, "Q5_0": legacy.q5_0, "Q5_1": legacy.q5_1,
    "Q8_0": legacy.q8_0, "Q8_1": legacy.q8_1, "Q8_K": legacy.q8_k, "Q1_0": legacy.q1_0, "Q2_0": legacy.q2_0,
    "Q2_K": kquants.q2_k, "Q3_K": kquants.q3_k, "Q4_K": kquants.q4_k, "Q5_K": kquants.q5_k,
    "Q6_K": kquants.q6_k, "TQ1_0": ternary.tq1_0, "TQ2_0": ternary.tq2_0, "MXFP4": fp4.mxfp4,
    "NVFP4": fp4.nvfp4, "IQ2_XXS": iquants.iq2_xxs, "IQ2_XS": iquants.iq2_xs, "IQ2_S": iquants.iq2_s,
    "IQ3_XXS": iquants.iq3_xxs, "IQ3_S": iquants.iq3_s, "IQ1_S": iquants.iq1_s, "IQ1_M": iquants.iq1_m,
    "IQ4_NL": iquants.iq4_nl, "IQ4_XS": iquants.iq4_xs,
}  # fmt: skip


def dequantize(data: U8, fmt: Format) -> NDArray[Any]:
    """See `edgeq.quants.dequantize`."""
    blocks, shape = _blocks(data, fmt)
    if fmt.name in _PLAIN:
        dtype = np.dtype(_PLAIN[fmt.name])
        return blocks.view(dtype).reshape(shape).astype(dtype.newbyteorder("="))
    out = np.empty((len(blocks), fmt.block), dtype=np.float32)
    step = max(1, _PIECE // fmt.block)
    with np.errstate(all="ignore"):  # scales may be Inf or NaN; the arithmetic is what it is
        for i in range(0, len(blocks), step):
            out[i : i + step] = _values(blocks[i : i + step], fmt)
    return out.reshape(shape)


def unpack(data: U8, fmt: Format) -> tuple[NDArray[np.int16], F32, F32 | None]:
    """See `edgeq.quants.unpack`."""
    if fmt.name not in _PARTS:
        raise UsageError(f"{fmt.name} has no integer weights to unpack: use dequantize")
    blocks, shape = _blocks(data, fmt)
    count = len(blocks)
    if not count:  # the definitions of formats need a block to find their shapes
        blocks = np.zeros((1, fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        w, s, m = _PARTS[fmt.name](blocks)
    w, s, m = w[:count], s[:count], None if m is None else m[:count]

    def per_16(x: F32) -> F32:
        return np.repeat(x, fmt.block // 16 // x.shape[1], axis=1).reshape(*shape[:-1], shape[-1] // 16)

    return w.reshape(shape).astype(np.int16), per_16(s), None if m is None else per_16(m)


def scales(data: U8, fmt: Format) -> NDArray[np.float64]:
    """See `edgeq.quants.scales`."""
    blocks, shape = _blocks(data, fmt)
    out = np.empty((len(blocks), len(fmt.scales)), dtype=np.float64)
    with np.errstate(all="ignore"):
        for column, (kind, offset) in enumerate(fmt.scales):
            out[:, column] = _scale(blocks, kind, offset)
    return out.reshape(*shape[:-1], shape[-1] // fmt.block, len(fmt.scales))


def _blocks(data: U8, fmt: Format) -> tuple[U8, tuple[int, ...]]:
    """`data` as [N, nbytes], and the shape of the numbers in it."""
    if not isinstance(data, np.ndarray):
        raise UsageError(f"{fmt.name}: expected a uint8 array, found {type(data).__name__}")
    if data.dtype != np.uint8 or data.ndim == 0:
        raise UsageError(
            f"{fmt.name}: expected a uint8 array of at least one axis, "
            f"found {data.dtype} with {data.ndim} axes"
        )
    if data.shape[-1] % fmt.nbytes:
        raise FormatError(
            f"{fmt.name}: a row must have a multiple of {fmt.nbytes} bytes, found {data.shape[-1]}"
        )
    n = data.shape[-1] // fmt.nbytes
    blocks = np.ascontiguousarray(data).reshape(data.size // fmt.nbytes, fmt.nbytes)
    return blocks, (*data.shape[:-1], n * fmt.block)


def _values(blocks: U8, fmt: Format) -> F32:
    """float32 [N, block]; every product and sum is rounded to float32 on its own."""
    if fmt.name == "F16":
        return blocks.view("<f2").astype(np.float32)
    if fmt.name == "BF16":
        return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)
    w, s, m = _PARTS[fmt.name](blocks)
    out = s[..., None] * w.reshape(*s.shape, -1).astype(np.float32)
    if m is not None:
        out += m[..., None]
    return out.reshape(len(blocks), fmt.block)


def _scale(blocks: U8, kind: str, offset: int) -> NDArray[np.float64]:
    """The floating point field of this kind at this offset of every block, float64 [N]."""
    if kind == "E8M0":
        code = blocks[:, offset]
        return np.where(code == 0xFF, np.nan, 2.0 * e8m0_half(code).astype(np.float64))
    if kind == "UE4M3":
        code = blocks[:, offset]
        return np.where(code & 0x7F == 0x7F, np.nan, 2.0 * ue4m3_half(code).astype(np.float64))
    if kind == "IQ1_M":
        return iquants.iq1_m_scale(blocks[:, offset:]).astype(np.float64)[:, 0]
    if kind == "BF16":
        bits = np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<u2").astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)[:, 0]
    dtype = np.dtype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[kind])
    field = np.ascontiguousarray(blocks[:, offset : offset + dtype.itemsize])
    return field.view(dtype).astype(np.float64)[:, 0]
