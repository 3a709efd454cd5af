"""AWQ (Lin et al. 2023) in AutoAWQ's GEMM packing, 4 bits.

For a linear of `in` columns and `out` rows: qweight int32 [in, out/8], qzeros int32 [groups, out/8], scales
[groups, out]. The eight nibbles of a word, lowest first, are the outputs 0, 2, 4, 6, 1, 3, 5, 7 of its eight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.floats import decode
from edgeq.convert.prequantized.parts import bases, group_size, groups_of, take, whole
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Floats, Integers, Rows, Source, even_groups
from edgeq.errors import ModelError, shown

SHIFT = 4 * np.array([0, 4, 1, 5, 2, 6, 3, 7], np.uint32)  # of output 0, 1, … in its word


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint that is in AWQ's packing."""
    whole(settings, "bits", (4,), settings.get("w_bit", 4))
    version = str(settings.get("version", "gemm")).lower()
    if version != "gemm":
        raise ModelError(f"config.json: AWQ version {shown(version, 40)!r}; only gemm is known")
    size = group_size({"group_size": settings.get("group_size", settings.get("q_group_size", 128))})
    return {f"{base}.weight": AWQ(base, size, tensors) for base in bases(tensors, ".qweight")}


class AWQ(Integers):
    """One weight."""

    def __init__(self, base: str, size: int, tensors: dict[str, Tensor]) -> None:
        qweight = take(tensors, f"{base}.qweight", ("I32", "U32"), (None, None))
        columns, out = qweight.shape[0], qweight.shape[1] * 8
        count = groups_of(columns, size)
        qzeros = take(tensors, f"{base}.qzeros", ("I32", "U32"), (count, out // 8))
        scales = take(tensors, f"{base}.scales", ("F16", "BF16", "F32"), (count, out))
        nbytes = qweight.nbytes + qzeros.nbytes + scales.nbytes
        groups = even_groups(columns, size)
        super().__init__(f"{base}.weight", "AWQ 4 bit", (out, columns), nbytes, 0, 15, groups)
        self._qweight, self._qzeros, self._scales = qweight, qzeros, scales

    def codes(self, rows: Rows) -> NDArray[np.int16]:
        return _nibbles(self._qweight, rows)

    def scales(self, rows: Rows) -> Floats:
        out: Floats = decode(self._scales.array()[:, rows], self._scales.dtype).T
        return out

    def zeros(self, rows: Rows) -> NDArray[np.int16]:
        return _nibbles(self._qzeros, rows)


def _nibbles(packed: Tensor, rows: Rows) -> NDArray[np.int16]:
    """Outputs `rows` of words [n, out/8], as [len(rows), n]."""
    words = packed.array().view(np.uint32)
    out: NDArray[np.int16] = (words[:, rows // 8] >> SHIFT[rows % 8] & 15).T.astype(np.int16)
    return out
