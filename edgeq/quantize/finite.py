"""Tensors that keep their format: their bytes as they are, if the numbers in them are finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgeq import quants
from edgeq.errors import FormatError, shown
from edgeq.quants import Format, scale_fields

if TYPE_CHECKING:
    from edgeq.gguf import Tensor
    from edgeq.quants.bits import U8

_PIECE = 8 << 20  # bytes
# Of floats: the bits of the exponent, which are all ones in NaN and infinity. To look at them costs no conversion.
_EXPONENT = {
    "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF0 << 48),
}  # fmt: skip


def checked(tensor: Tensor) -> Iterator[bytes]:
    """All bytes of a tensor, in pieces. FormatError naming tensor and place of a weight or scale that is not finite."""
    block = tensor.format.nbytes
    step = _PIECE // block * block
    for at in range(0, tensor.nbytes, step):
        piece = tensor.read(at, min(step, tensor.nbytes - at))
        found = _first(np.frombuffer(piece, np.uint8), tensor.format)
        if found is not None:
            index, value = found
            where = _place(tensor, at // block + index)
            raise FormatError(
                f"tensor {shown(tensor.name)}: {tensor.format.name}: found {value} {where}; expected finite numbers"
            )
        yield piece


def _first(data: U8, fmt: Format) -> tuple[int, float] | None:
    """Which block has the first field that is not finite, and what that is."""
    if fmt.name in _EXPONENT:
        kind, ones = _EXPONENT[fmt.name]
        bad = np.flatnonzero((data.view(kind) & ones) == ones)
        if not len(bad):
            return None
        at = int(bad[0])
        return at, float(quants.dequantize(data[at * fmt.nbytes : (at + 1) * fmt.nbytes], fmt)[0])
    if not scale_fields(fmt):
        return None
    fields = quants.scales(data, fmt)
    rows, columns = np.nonzero(~np.isfinite(fields))
    return (int(rows[0]), float(fields[rows[0], columns[0]])) if len(rows) else None


def _place(tensor: Tensor, index: int) -> str:
    if tensor.format.block == 1:
        return f"at {[int(i) for i in np.unravel_index(index, tensor.shape)]}"
    row, block = divmod(index, tensor.shape[-1] // tensor.format.block)
    return f"as a scale of block {block} in row {row}"
