"""GPTQ (Frantar et al. 2022), as AutoGPTQ and GPTQModel save it.

For a linear of `in` columns and `out` rows: qweight int32 [in·bits/32, out] with the numbers of a column of it one
after another, lowest bits first; qzeros int32 [groups, out·bits/32], alike along its rows; scales [groups, out];
g_idx int32 [in], the group of each column. Version 1 of the format ("gptq") stores each zero less one, wrapping;
version 2 ("gptq_v2") as it is. With desc_act the groups of columns are not neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.floats import decode
from edgeq.convert.prequantized.parts import bases, group_size, groups_of, take, whole
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Floats, Integers, Rows, Source, even_groups, unpack
from edgeq.errors import ModelError, shown

FORMATS = ("gptq", "gptq_v2")


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint that is in GPTQ's packing."""
    bits = whole(settings, "bits", (2, 3, 4, 8))
    form = settings.get("checkpoint_format", "gptq")
    if form not in FORMATS:
        raise ModelError(f"config.json: checkpoint_format {shown(form, 40)!r}; known are {', '.join(FORMATS)}")
    found: dict[str, Source] = {}
    for base in bases(tensors, ".qweight"):
        found[f"{base}.weight"] = GPTQ(base, bits, group_size(settings), form == "gptq", tensors)
    return found


class GPTQ(Integers):
    """One weight."""

    def __init__(self, base: str, bits: int, size: int, less_one: bool, tensors: dict[str, Tensor]) -> None:
        qweight = take(tensors, f"{base}.qweight", ("I32", "U32"), (None, None))
        words, out = qweight.shape
        columns = words * 32 // bits
        if words * 32 % bits or out * bits % 32:
            raise ModelError(
                f"tensor {shown(base)}.qweight: shape {[words, out]} cannot hold whole numbers of {bits} bits"
            )
        count = groups_of(columns, size)
        qzeros = take(tensors, f"{base}.qzeros", ("I32", "U32"), (count, out * bits // 32))
        scales = take(tensors, f"{base}.scales", ("F16", "BF16", "F32"), (count, out))
        groups, parts = even_groups(columns, size), [qweight, qzeros, scales]
        if f"{base}.g_idx" in tensors:
            g_idx = take(tensors, f"{base}.g_idx", ("I32", "I64"), (columns,))
            parts.append(g_idx)
            groups = g_idx.array().astype(np.intp)
            if groups.size and not 0 <= int(groups.min()) <= int(groups.max()) < count:
                raise ModelError(f"tensor {shown(base)}.g_idx: names groups beyond the {count} there are")
        top = (1 << bits) - 1
        nbytes = sum(p.nbytes for p in parts)
        super().__init__(f"{base}.weight", f"GPTQ {bits} bit", (out, columns), nbytes, 0, top, groups)
        self._bits, self._less_one = bits, less_one
        self._qweight, self._qzeros, self._scales = qweight, qzeros, scales

    def codes(self, rows: Rows) -> NDArray[np.int16]:
        return unpack(self._qweight.array()[:, rows].T, self._bits, self.shape[1]).astype(np.int16)

    def scales(self, rows: Rows) -> Floats:
        out: Floats = decode(self._scales.array()[:, rows], self._scales.dtype).T
        return out

    def zeros(self, rows: Rows) -> NDArray[np.int16]:
        zeros: NDArray[np.int16] = unpack(self._qzeros.array(), self._bits, self.shape[0])[:, rows].T.astype(np.int16)
        return (zeros + 1) & self.high if self._less_one else zeros
