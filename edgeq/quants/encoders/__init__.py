"""Encoders in NumPy: the readable twin of native/encode, which writes the same bytes, and the fallback without it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.quants.encoders import fp4, grids, kquants, legacy, ternary
from edgeq.quants.encoders.lanes import F32, U8, normalized
from edgeq.quants.table import Format

_PIECE = 1 << 10  # blocks at a time: temporaries are many times as large

ENCODERS: dict[str, Callable[[F32, F32], U8]] = {
    "Q4_0": legacy.q4_0, "Q4_1": legacy.q4_1, "Q5_0": legacy.q5_0, "Q5_1": legacy.q5_1, "Q8_0": legacy.q8_0,
    "Q1_0": legacy.q1_0, "Q2_0": legacy.q2_0, "IQ4_NL": legacy.iq4_nl,
    "Q2_K": kquants.q2_k, "Q3_K": kquants.q3_k, "Q4_K": kquants.q4_k, "Q5_K": kquants.q5_k, "Q6_K": kquants.q6_k,
    "IQ4_XS": kquants.iq4_xs, "TQ1_0": ternary.tq1_0, "TQ2_0": ternary.tq2_0,
    "MXFP4": fp4.mxfp4, "NVFP4": fp4.nvfp4,
    "IQ2_XXS": grids.iq2_xxs, "IQ2_XS": grids.iq2_xs, "IQ2_S": grids.iq2_s, "IQ3_XXS": grids.iq3_xxs,
    "IQ3_S": grids.iq3_s, "IQ1_S": grids.iq1_s, "IQ1_M": grids.iq1_m,
}  # fmt: skip


def encode(x: F32, fmt: Format, importance: F32 | None) -> U8:
    """Rows x [R, n] as uint8 [R, bytes of a row]; importance [n] or None."""
    rows, n = x.shape
    per_row = n // fmt.block
    blocks = x.reshape(-1, fmt.block)
    out = np.empty((len(blocks), fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        for at in range(0, len(blocks), _PIECE):
            piece = np.ascontiguousarray(blocks[at : at + _PIECE].T)
            w = np.ones_like(piece)
            if importance is not None:
                which = np.arange(at, at + piece.shape[1]) % per_row
                w = normalized(np.ascontiguousarray(importance.reshape(per_row, -1)[which].T))
            out[at : at + _PIECE] = ENCODERS[fmt.name](piece, w)
    return out.reshape(rows, -1)
