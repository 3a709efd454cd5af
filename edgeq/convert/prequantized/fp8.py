"""FP8 weights with scales: `X.weight` F8_E4M3 [rows, columns] times a scale that is one number, one for each row, or
one for each rectangle of `weight_block_size`. DeepSeek's `weight_scale_inv` is that scale too, not its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.floats import decode
from edgeq.convert.prequantized.parts import MAX_SIZE, bases, take
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Floats, Rows, Source
from edgeq.errors import ModelError, shown

SCALES = (".weight_scale_inv", ".weight_scale")
ACTIVATIONS = (".activation_scale", ".input_scale", ".output_scale", ".k_scale", ".v_scale", ".input_scale_ub")
"""Scales of activations, caches and outputs: weights alone are imported."""


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint in FP8 with a scale."""
    block = settings.get("weight_block_size")
    found: dict[str, Source] = {}
    for suffix in SCALES:
        for base in bases(tensors, suffix):
            scale = take(tensors, base + suffix, ("F32", "BF16", "F16"))
            weight = take(tensors, f"{base}.weight", ("F8_E4M3", "F8_E5M2"), (None, None))
            found[weight.name] = FP8(weight, scale, block_size(block, weight) if block is not None else None)
    drop(tensors, ACTIVATIONS)
    return found


def drop(tensors: dict[str, Tensor], suffixes: tuple[str, ...]) -> None:
    """Removes the tensors with these ends."""
    for name in [name for name in tensors if name.endswith(suffixes)]:
        del tensors[name]


def block_size(value: object, weight: Tensor) -> tuple[int, int]:
    """The two sizes of a rectangle that shares a scale."""
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n <= MAX_SIZE for n in value):
        raise ModelError(
            f"tensor {shown(weight.name)}: blocks of {shown(value, 40)}; expected two whole numbers over 0"
        )
    return value[0], value[1]


class FP8:
    """One weight. Its values are the float32 products of code and scale."""

    def __init__(self, weight: Tensor, scale: Tensor, block: tuple[int, int] | None) -> None:
        rows, columns = weight.shape
        self.name, self.shape = weight.name, weight.shape
        self.kind = f"{weight.dtype}, {'a scale per block' if block else 'scaled'}"
        self.nbytes = weight.nbytes + scale.nbytes
        self._weight = weight
        values = decode(scale.array(), scale.dtype)
        if block is None:
            if values.size not in (1, rows):
                raise ModelError(
                    f"tensor {shown(scale.name)}: shape {list(scale.shape)}, expected one number or {rows} of them"
                )
            block = (1 if values.size == rows else rows, columns)
        wanted = (-(-rows // block[0]), -(-columns // block[1]))
        if values.size != wanted[0] * wanted[1] or (values.ndim == 2 and values.shape != wanted):
            raise ModelError(f"tensor {shown(scale.name)}: shape {list(scale.shape)}, expected {list(wanted)}")
        self._scale: NDArray[np.float32] = values.reshape(wanted)
        self._rows, self._columns = block[0], np.arange(columns) // block[1]

    def floats(self, rows: Rows) -> Floats:
        scale = self._scale[rows // self._rows][:, self._columns]
        out: Floats = decode(self._weight.rows(rows), self._weight.dtype) * scale
        return out
