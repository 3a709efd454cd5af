"""MXFP4 and NVFP4: E2M1 numbers under a scale that is a byte. Layouts: edgeq/quants/fp4.py.

All codes near the one that makes the largest weight the largest number are tried.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.bits import e8m0_half, ue4m3_half
from edgeq.quants.encoders import scale
from edgeq.quants.encoders.lanes import F32, INF, U8, below, codes, inverse, largest_of
from edgeq.quants.encoders.legacy import nibbles


def _choose(scales: F32, low: int, reach: int, x: F32, w: F32) -> tuple[U8, U8]:
    """Scale codes [N, 1] (the first of `scales` is code `low`) and E2M1 codes [N, n]."""
    starts = [
        np.minimum(np.searchsorted(scales, np.abs(top) * (np.float32(1) / np.float32(12))), len(scales) - 1)
        for top in largest_of(x, w)
    ]
    best, chosen = np.full_like(x[0], INF), starts[0]
    for start in starts:
        for k in range(2 * reach + 1):
            at = np.clip(start + ((k + 1) // 2 if k % 2 else -k // 2), 0, len(scales) - 1)
            e = scale.misfit(scale.fp4, x, w, scales[at])
            chosen = np.where(e < best, at, chosen)
            best = np.minimum(e, best)
    level = scale.fp4(x * inverse(scales[chosen]))
    code = np.searchsorted(np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32), np.abs(level)).astype(np.float32)
    code = below(level, np.float32(0), code + np.float32(8), code)
    return (chosen + low).astype(np.uint8)[:, None], codes(code)


def mxfp4(x: F32, w: F32) -> U8:
    """A power of two for 32 weights."""
    e, q = _choose(e8m0_half(np.arange(2, 255, dtype=np.uint8)), 2, 3, x, w)
    return np.concatenate([e, nibbles(q)], axis=-1)


def nvfp4(x: F32, w: F32) -> U8:
    """A float of 7 bits for each 16 weights."""
    scales = ue4m3_half(np.arange(127, dtype=np.uint8))
    parts = [_choose(scales, 0, 9, x[i : i + 16], w[i : i + 16]) for i in range(0, 64, 16)]
    rows = [q[:, :8] | q[:, 8:] << 4 for _, q in parts]
    return np.concatenate([d for d, _ in parts] + rows, axis=-1)
