"""Blocks whose numbers are as large as those they stand for.

The least sum of w (x - x̂)² shrinks: for the best scale of given integers, sum w x x̂ = sum w x̂², which is below
sum w x² by the error. For a weight on its own that is best. Where two outputs are multiplied, as gate and up of a
feed-forward network are, the product shrinks twice, in every layer, and that can be felt more than the noise: models
answer as close to the original or closer if such weights keep their size. The error grows by its own share of the
power: by 1 % where it is 1 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeq.quants import decode, native
from edgeq.quants.bits import F32, U8
from edgeq.quants.table import Format

_MOST = 1.25  # a block that would have to grow more is no likeness of its numbers


def can_keep(fmt: Format) -> bool:
    """Whether blocks of the format have fp16 scales of their own, which a factor can go into. Formats of less than two
    bits are for weights that lie on their grid, and stay as they are."""
    return fmt.block > 1 and fmt.bits_per_weight > 2 and {kind for kind, _ in fmt.scales} == {"F16"}


def keep_size(x: F32, data: U8, fmt: Format, importance: F32 | None) -> None:
    """Multiplies, in place, the scales of every block in `data`, uint8 [R, bytes of a row] of rows x, float32 [R, n],
    so that sum w x x̂ = sum w x² as near as fp16 comes. importance [n], or None. Other formats are left alone.

    The same bytes on every processor: sums go weight by weight. BackendError if the library refuses the arrays."""
    if not can_keep(fmt):
        return
    w = None if importance is None else np.ascontiguousarray(importance, np.float32)
    sums = native.block_sums if native.available() else _block_sums
    full, kept = sums(np.ascontiguousarray(x), data, fmt, w).T
    with np.errstate(all="ignore"):
        factor = np.where(kept > 0, np.clip(full / kept, 1.0, _MOST), 1.0)
    blocks = data.reshape(-1, fmt.nbytes)
    for _, at in fmt.scales:
        field = np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2")[:, 0].astype(np.float64)
        blocks[:, at : at + 2] = np.clip(field * factor, -65504, 65504).astype("<f2")[:, None].view(np.uint8)


def _block_sums(x: F32, data: U8, fmt: Format, importance: F32 | None) -> NDArray[np.float64]:
    """Sums of w x² and of w x x̂, float64 [blocks, 2]."""
    wanted, found = (a.reshape(-1, fmt.block).T for a in (x, decode.dequantize(data, fmt)))
    weights = None if importance is None else np.tile(importance.reshape(-1, fmt.block).T.astype(np.float64), len(x))
    out = np.zeros((wanted.shape[1], 2))
    for i, (a, b) in enumerate(zip(wanted, found)):
        wide = a.astype(np.float64) if weights is None else a * weights[i]
        out[:, 0] += wide * a
        out[:, 1] += wide * b
    return out
