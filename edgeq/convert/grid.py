"""Whole numbers of a quantized checkpoint as blocks of a GGUF format, without rounding a weight again.

A block of 32 weights of GGUF has one scale; where the columns of a block are one group of the checkpoint, its whole
numbers can be taken over as they are. What can still be lost is in the scale, which GGUF keeps as fp16, and in
Q4_1's minimum, -zero · scale as fp16: at most 2⁻¹¹ of each.

    Q4_0  d·v, -8 ≤ v ≤ 7        Q5_0  d·v, -16 ≤ v ≤ 15        Q8_0  d·v, -128 ≤ v ≤ 127        with v = q - zero
    Q4_1  d·q + m, 0 ≤ q ≤ 15

Q4_K is not tried: its groups have scales of 6 bits, multiples of one fp16 number for 256 weights, and its minima too. A
checkpoint's scales, fp16 numbers each on its own, are such multiples by chance alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.source import Integers, Rows

BLOCK = 32
LARGEST, NORMAL = 65504.0, 2.0**-14  # of fp16, and its smallest number with all 11 bits
LIMITS = {"Q4_0": (-8, 7), "Q5_0": (-16, 15), "Q8_0": (-128, 127)}
FORMATS = ("Q4_0", "Q4_1", "Q5_0", "Q8_0")  # from small to large


def formats(source: Integers) -> tuple[str, ...]:
    """The formats that hold these whole numbers, smallest first; none where groups cut blocks, or fp16 the scales.

    Reads all scales and zeros of the tensor, and no weight."""
    rows, columns = source.shape
    if columns % BLOCK or (source.groups.reshape(-1, BLOCK) != source.groups[::BLOCK, None]).any():
        return ()
    low = high = 0
    minima = source.low >= 0 and source.high <= 15  # whether Q4_1 holds them
    for start in range(0, rows, 4096):
        part = np.arange(start, min(rows, start + 4096))
        zeros, scales = source.zeros(part), source.scales(part)
        low, high = min(low, source.low - int(zeros.max())), max(high, source.high - int(zeros.min()))
        with np.errstate(over="ignore", invalid="ignore"):
            sizes, least = np.abs(scales), np.abs(zeros * scales)
            same = np.isfinite(scales) & (scales == scales.astype(np.float16))
        if not ((sizes >= NORMAL) & (sizes <= LARGEST) | same).all():
            return ()  # subnormal in fp16, where its steps are wide: the scale would be rounded far more
        minima = minima and bool((least <= LARGEST).all())
    fitting = {name for name, (a, b) in LIMITS.items() if a <= low and high <= b}
    if minima:
        fitting.add("Q4_1")
    return tuple(name for name in FORMATS if name in fitting)


def blocks(source: Integers, fmt: str, rows: Rows) -> NDArray[np.uint8]:
    """These rows in one of their `formats`: uint8 [len(rows), bytes]."""
    firsts = source.groups[::BLOCK]
    scale = source.scales(rows)[:, firsts]
    d = scale.astype("<f2")
    parts: list[NDArray[np.uint8]] = [d[..., None].view(np.uint8)]
    if fmt == "Q4_1":
        zero = source.zeros(rows)[:, firsts]
        parts.append((-(zero * scale)).astype("<f2")[..., None].view(np.uint8))
        q = source.codes(rows)
    else:
        q = source.levels(rows)
    q = q.reshape(len(rows), -1, BLOCK)
    if fmt == "Q8_0":
        parts.append(q.astype(np.int8).view(np.uint8))
    else:
        if fmt != "Q4_1":
            q = q - LIMITS[fmt][0]
        if fmt == "Q5_0":
            parts.append(np.packbits((q >> 4).astype(np.uint8), axis=-1, bitorder="little"))
        # The low nibbles of 16 bytes are the first half of the block, the high ones the second.
        parts.append((q[..., :16] & 15 | (q[..., 16:] & 15) << 4).astype(np.uint8))
    return np.concatenate(parts, axis=-1).reshape(len(rows), -1)
