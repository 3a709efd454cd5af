"""compressed-tensors (vLLM's llm-compressor): packed integers, plain integers and FP8, per tensor, row, group or block.

Packed: weight_packed int32 [rows, columns·bits/32], numbers of a row one after another, lowest bits first, each plus
half the range; weight_scale [rows, groups]; weight_shape [2]; weight_zero_point, packed alike along rows [rows·bits/32,
groups], or int8 and one for all, where it is asymmetric; weight_g_idx [columns] where the groups of columns are not
neighbours. Plain: weight int8 (of fewer bits too) or F8_E4M3, weight_scale, weight_zero_point int8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.floats import decode
from edgeq.convert.prequantized.fp8 import ACTIVATIONS, FP8, block_size, drop
from edgeq.convert.prequantized.parts import bases, group_size, groups_of, take
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Floats, Integers, Rows, Source, even_groups, unpack
from edgeq.errors import ModelError, shown

FORMATS = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized")
UNUSED = (*ACTIVATIONS, ".input_zero_point", ".output_zero_point")
SCALES = ("F16", "BF16", "F32")


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint that compressed-tensors quantized."""
    form = settings.get("format")
    if form not in FORMATS:
        raise ModelError(f"config.json: compressed-tensors {shown(form, 40)!r}; known are {', '.join(FORMATS)}")
    groups = settings.get("config_groups")
    scheme = next(iter(groups.values()), None) if isinstance(groups, dict) and len(groups) == 1 else None
    weights = scheme.get("weights") if isinstance(scheme, dict) else None
    if not isinstance(weights, dict):
        raise ModelError("config.json: compressed-tensors with other than one group of settings for weights")
    found: dict[str, Source] = {}
    for base in bases(tensors, ".weight_packed"):
        found[f"{base}.weight"] = packed(base, weights, tensors)
    for base in bases(tensors, ".weight_scale"):
        weight = take(tensors, f"{base}.weight", ("I8", "F8_E4M3"), (None, None))
        scale = take(tensors, f"{base}.weight_scale", SCALES)
        if weight.dtype == "I8":
            found[weight.name] = plain(base, weight, scale, weights, tensors)
        else:
            found[weight.name] = FP8(weight, scale, _block(weights, weight))
    drop(tensors, UNUSED)
    return found


def packed(base: str, weights: dict[str, Any], tensors: dict[str, Tensor]) -> Source:
    """One weight of packed integers."""
    bits = _bits(weights)
    words = take(tensors, f"{base}.weight_packed", ("I32",), (None, None))
    sizes = take(tensors, f"{base}.weight_shape", ("I64", "I32"), (2,)).array()
    rows, columns = int(sizes[0]), int(sizes[1])
    wanted = (rows, -(-columns * bits // 32))
    if words.shape != wanted:
        raise ModelError(
            f"tensor {shown(words.name)}: shape {list(words.shape)}; weight_shape {[rows, columns]} takes "
            f"{list(wanted)}"
        )
    scale = take(tensors, f"{base}.weight_scale", SCALES)
    count = _groups(scale, rows)
    point = tensors.get(f"{base}.weight_zero_point")
    if point is None or point.dtype == "I8":
        zeros = _zeros(base, scale, (rows, count), bits, tensors)
    else:
        point = take(tensors, point.name, ("I32", "I8"), (-(-rows * bits // 32), count))
        zeros = unpack(point.array().T, bits, rows).T.astype(np.int16)
    groups = _columns(base, columns, count, weights, tensors)
    return Scaled(f"{base}.weight", words, scale, zeros, (rows, columns), groups, bits)


def plain(base: str, weight: Tensor, scale: Tensor, weights: dict[str, Any], tensors: dict[str, Tensor]) -> Source:
    """One weight of integers in int8, whatever their bits."""
    rows, columns = weight.shape
    count, bits = _groups(scale, rows), _bits(weights)
    zeros = _zeros(base, scale, (rows, count), bits, tensors)
    groups = _columns(base, columns, count, weights, tensors)
    return Scaled(weight.name, weight, scale, zeros, (rows, columns), groups, bits)


class Scaled(Integers):
    """Integers of `bits` in rows, packed or as int8; those of int8 plus half the range, as packed ones are."""

    def __init__(
        self, name: str, data: Tensor, scale: Tensor, zeros: NDArray[np.int16], shape: tuple[int, int],
        groups: NDArray[np.intp], bits: int,
    ) -> None:  # fmt: skip
        kind, nbytes = f"compressed-tensors int{bits}", data.nbytes + scale.nbytes
        super().__init__(name, kind, shape, nbytes, 0, (1 << bits) - 1, groups)
        self._data, self._bits, self._zeros, self._scale = data, bits, zeros, scale

    def codes(self, rows: Rows) -> NDArray[np.int16]:
        if self._data.dtype != "I8":
            return unpack(self._data.rows(rows), self._bits, self.shape[1]).astype(np.int16)
        codes: NDArray[np.int16] = self._data.rows(rows).astype(np.int16) + np.int16(1 << self._bits - 1)
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) <= self.high:
            raise ModelError(f"tensor {shown(self._data.name)}: numbers beyond the {self._bits} bits of config.json")
        return codes

    def scales(self, rows: Rows) -> Floats:
        scales = self._scale.array().reshape(-1, self._zeros.shape[1])
        return decode(np.broadcast_to(scales, self._zeros.shape)[rows], self._scale.dtype)

    def zeros(self, rows: Rows) -> NDArray[np.int16]:
        return self._zeros[rows]


def _bits(weights: dict[str, Any]) -> int:
    bits = weights.get("num_bits", 8)
    if type(bits) is not int or not 2 <= bits <= 8 or weights.get("type", "int") != "int":
        raise ModelError(f"config.json: weights of {shown(bits, 20)} bits; known are integers of 2 to 8")
    return bits


def _zeros(
    base: str, scale: Tensor, shape: tuple[int, int], bits: int, tensors: dict[str, Tensor]
) -> NDArray[np.int16]:
    """The zero of each row and group, int8 like the scales, as a number of a range that begins at 0."""
    middle = np.int16(1 << bits - 1)
    if f"{base}.weight_zero_point" not in tensors:
        return np.broadcast_to(middle, shape)
    point = take(tensors, f"{base}.weight_zero_point", ("I8",))
    if point.shape != scale.shape:
        raise ModelError(f"tensor {shown(point.name)}: shape {list(point.shape)}, expected {list(scale.shape)}")
    out: NDArray[np.int16] = np.broadcast_to(point.array().reshape(-1, shape[1]), shape).astype(np.int16) + middle
    return out


def _block(weights: dict[str, Any], weight: Tensor) -> tuple[int, int] | None:
    """Rows and columns that share a scale of FP8; None for whole rows or all."""
    strategy = weights.get("strategy")
    if strategy == "block":
        return block_size(weights.get("block_structure"), weight)
    size = group_size(weights) if strategy == "group" else -1
    return None if size == -1 else (1, size)


def _groups(scale: Tensor, rows: int) -> int:
    """Groups of a row: by the scale's shape [rows, groups], [rows], or one number."""
    shape = scale.shape
    if len(shape) == 2 and shape[0] == rows and shape[1] > 0:
        return shape[1]
    if shape in ((), (1,), (1, 1), (rows,)):
        return 1
    raise ModelError(f"tensor {shown(scale.name)}: shape {list(shape)}, expected [{rows}, groups] or one number")


def _columns(
    base: str, columns: int, count: int, weights: dict[str, Any], tensors: dict[str, Tensor]
) -> NDArray[np.intp]:
    """The group of each column."""
    size = group_size(weights) if weights.get("strategy") == "group" else -1
    if groups_of(columns, size) != count:
        raise ModelError(
            f"tensor {shown(base)}.weight_scale: {count} groups; {columns} columns in groups of {size} are "
            f"{groups_of(columns, size)}"
        )
    name = f"{base}.weight_g_idx"
    if name not in tensors:
        return even_groups(columns, size)
    found = take(tensors, name, ("I32", "I64"), (columns,)).array().astype(np.intp)
    if found.size and int(found.min()) < 0:
        return even_groups(columns, size)  # -1 marks a g_idx that was never set
    if found.size and int(found.max()) >= count:
        raise ModelError(f"tensor {shown(name)}: names groups beyond the {count} there are")
    return found
