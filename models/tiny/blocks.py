"""Random weights from a name alone: the same bytes on every machine and for every version of NumPy.

Quantized tensors are random blocks: every code is drawn, and the block's scales are set so that the weights
have a wanted size. All codes of a format occur, also those that a quantizer seldom picks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TensorType(IntEnum):
    """GGML's type ids of all formats that may be the weight of a linear layer."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41
    Q2_0 = 42


@dataclass(frozen=True)
class Block:
    """Layout of one block, as far as its scales go. `rms` is that of the weights when d is 1, `offset` the
    ratio of the second half-float to the first that centres them (None: there is no second)."""

    weights: int
    nbytes: int
    d: int  # where the half-float d lies
    rms: float
    offset: float | None = None


# rms is measured by tests/models/test_tiny.py, which fails when a row here is wrong.
BLOCKS = {
    TensorType.Q4_0: Block(32, 18, 0, 4.64),
    TensorType.Q4_1: Block(32, 20, 0, 4.61, -7.5),
    TensorType.Q5_0: Block(32, 22, 0, 9.24),
    TensorType.Q5_1: Block(32, 24, 0, 9.23, -15.5),
    TensorType.Q8_0: Block(32, 34, 0, 73.9),
    TensorType.Q2_K: Block(256, 84, 80, 13.9, 1.5),
    TensorType.Q3_K: Block(256, 110, 108, 43.4),
    TensorType.Q4_K: Block(256, 144, 0, 258.0, 7.5),
    TensorType.Q5_K: Block(256, 176, 0, 527.0, 15.5),
    TensorType.Q6_K: Block(256, 210, 208, 1360.0),
    TensorType.IQ2_XXS: Block(256, 66, 0, 53.4),
    TensorType.IQ2_XS: Block(256, 74, 0, 55.9),
    TensorType.IQ2_S: Block(256, 82, 0, 56.5),
    TensorType.IQ3_XXS: Block(256, 98, 0, 142.0),
    TensorType.IQ3_S: Block(256, 110, 0, 140.0),
    TensorType.IQ1_S: Block(256, 50, 0, 7.21),
    TensorType.IQ1_M: Block(256, 56, 48, 7.21),
    TensorType.IQ4_NL: Block(32, 18, 0, 67.4),
    TensorType.IQ4_XS: Block(256, 136, 0, 1250.0),
    TensorType.TQ1_0: Block(256, 54, 52, 0.818),
    TensorType.TQ2_0: Block(256, 66, 64, 0.867),
    TensorType.Q1_0: Block(128, 18, 0, 1.0),
    TensorType.Q2_0: Block(64, 18, 0, 1.22),
}


def stream(name: str, n: int) -> NDArray[np.uint8]:
    """n bytes that follow from the name."""
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(n), np.uint8)


def gauss(name: str, shape: tuple[int, ...], rms: float, mean: float = 0.0) -> NDArray[np.float32]:
    """About normal, on a grid of some 100 steps so that a file of them compresses well."""
    drawn = stream(name, 4 * int(np.prod(shape))).reshape(-1, 4).sum(1, dtype=np.int32)
    grid = (((drawn + 6) >> 3) - 64).astype(np.float32)  # rms 18.5
    return (np.float32(mean) + grid * np.float32(rms / 18.5)).reshape(shape)


def weights(name: str, shape: tuple[int, int], rms: float, kind: TensorType) -> NDArray[np.uint8]:
    """uint8 [rows, bytes per row] of a matrix [rows, columns] in the given format."""
    rows, columns = shape
    if kind in (TensorType.F32, TensorType.F16, TensorType.BF16):
        return _floats(gauss(name, shape, rms), kind)
    if kind is TensorType.MXFP4:
        return _mxfp4(name, rows, columns // 32, rms)
    if kind is TensorType.NVFP4:
        return _nvfp4(name, rows, columns // 64, rms)
    block = BLOCKS[kind]
    n = rows * columns // block.weights
    raw = stream(name, n * block.nbytes).reshape(n, block.nbytes).copy()
    if kind is TensorType.TQ2_0:  # two bits hold -1, 0, 1; the fourth code is never written
        for bit in (0, 2, 4, 6):
            raw[((raw >> bit) & 3) == 3] ^= np.uint8(1 << bit)
    spread = stream(f"{name} scales", 2 * n).reshape(n, 2)
    d = (0.5 + spread[:, 0] / 256) * (rms / block.rms / 1.04)  # 1.04: rms of 0.5 to 1.5
    if block.offset is None:
        d = np.where(spread[:, 1] & 1, -d, d)
    _put_scales(raw, kind, block, d)
    return raw.reshape(rows, -1)


def _floats(values: NDArray[np.float32], kind: TensorType) -> NDArray[np.uint8]:
    if kind is TensorType.BF16:
        return (
            np.ascontiguousarray(values).view("<u2")[:, 1::2].copy().view(np.uint8)
        )  # cut, on purpose: any bits do
    dtype = "<f2" if kind is TensorType.F16 else "<f4"
    return np.ascontiguousarray(values.astype(dtype)).view(np.uint8)


def _put_scales(raw: NDArray[np.uint8], kind: TensorType, block: Block, d: NDArray[np.float64]) -> None:
    half = d.astype("<f2")
    if kind is TensorType.IQ1_M:  # the sixteen bits lie in the top nibbles of four words of scales
        words = raw[:, 48:56].view("<u2")
        for i in range(4):
            words[:, i] = (words[:, i] & 0x0FFF) | ((half.view("<u2") >> (4 * i)) & 0xF) << 12
        return
    raw[:, block.d : block.d + 2] = half[:, None].view(np.uint8)
    if block.offset is not None:
        second = (half.astype(np.float64) * block.offset).astype("<f2")
        raw[:, block.d + 2 : block.d + 4] = second[:, None].view(np.uint8)


def _mxfp4(name: str, rows: int, blocks: int, rms: float) -> NDArray[np.uint8]:
    """One power of two (E8M0, bias 127, halved) for 32 codes with an rms of 5.85."""
    raw = stream(name, rows * blocks * 17).reshape(-1, 17).copy()
    middle = 128 + round(float(np.log2(rms / 5.85)))
    raw[:, 0] = middle - 1 + raw[:, 0] % 3
    return raw.reshape(rows, -1)


def _nvfp4(name: str, rows: int, blocks: int, rms: float) -> NDArray[np.uint8]:
    """Four scales (E4M3 without sign, bias 7) for 64 codes; small ones are subnormal, and some are zero."""
    raw = stream(name, rows * blocks * 36).reshape(-1, 36).copy()
    middle = 8 * max(7 + round(float(np.log2(rms / 5.85))), 0)
    raw[:, :4] = middle + raw[:, :4] % 16
    return raw.reshape(rows, -1)
