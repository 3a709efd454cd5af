"""bitsandbytes (Dettmers et al. 2022, 2023): NF4 and FP4 with or without double quantization, and INT8.

4 bits: `X.weight` uint8 (or the same bytes as words of another type), two codes to a byte, the first in the high
nibble, the matrix read row by row; `.absmax` float32, or uint8 where it is quantized again; `.quant_map` float32 [16],
the value of each code; `.quant_state.bitsandbytes__nf4` (or fp4), JSON in bytes, with shape and block size. A value is
quant_map[code] times the absmax of its block. An absmax of 8 bits stands for nested_quant_map[it] · nested_absmax[block
of it] + nested_offset. INT8: `X.weight` int8, `X.SCB` float32 [rows], the largest size of each row, which 127 stands
for.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.hparams import LARGEST
from edgeq.convert.prequantized.parts import MAX_SIZE, bases, take
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Floats, Integers, Rows, Source, even_groups
from edgeq.errors import ModelError, shown

KINDS = ("nf4", "fp4")
STORED = ("U8", "I8", "F16", "BF16", "F32", "F64")  # of quant_storage: the same bytes, in words of a type


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint that bitsandbytes quantized."""
    found: dict[str, Source] = {}
    for kind in KINDS:
        for name in bases(tensors, f".quant_state.bitsandbytes__{kind}"):
            found[name] = FourBit(name, kind, tensors)
    for base in bases(tensors, ".SCB"):
        found[f"{base}.weight"] = Int8(base, tensors)
        tensors.pop(f"{base}.weight_format", None)
    return found


class FourBit:
    """One weight in NF4 or FP4."""

    def __init__(self, name: str, kind: str, tensors: dict[str, Tensor]) -> None:
        state = _state(take(tensors, f"{name}.quant_state.bitsandbytes__{kind}", ("U8",)))
        self.name, self.kind = name, f"bitsandbytes {kind.upper()}"
        self.shape: tuple[int, ...] = _shape(state, name)
        self._block = _number(state, "blocksize", name)
        count = math.prod(self.shape)
        packed = take(tensors, name, STORED)
        if packed.nbytes != -(-count // 2):
            raise ModelError(
                f"tensor {shown(name)}: {packed.nbytes} bytes; its quant_state has shape {list(self.shape)}, "
                f"which takes {-(-count // 2)}"
            )
        blocks = -(-count // self._block)
        absmax = take(tensors, f"{name}.absmax", ("F32", "U8"), (blocks,))
        table = take(tensors, f"{name}.quant_map", ("F32",), (16,))
        parts = [packed, absmax, table]
        self._packed, self._table, self._absmax = packed, table.array(), absmax
        self._nested: tuple[Tensor, Tensor, int, np.float32] | None = None
        if absmax.dtype == "U8":
            size = _number(state, "nested_blocksize", name)
            offset = state.get("nested_offset")
            if isinstance(offset, bool) or not isinstance(offset, (int, float)) or not abs(offset) <= LARGEST:
                raise ModelError(
                    f"tensor {shown(name)}: nested_offset of its quant_state is {shown(offset, 40)}; expected a number "
                    f"of a size up to {LARGEST:g}"
                )
            outer = take(tensors, f"{name}.nested_absmax", ("F32",), (-(-blocks // size),))
            levels = take(tensors, f"{name}.nested_quant_map", ("F32",), (256,))
            parts += [outer, levels]
            self._nested = levels, outer, size, np.float32(offset)
        self.nbytes = sum(p.nbytes for p in parts)

    def floats(self, rows: Rows) -> Floats:
        columns = math.prod(self.shape[1:])
        place = rows[:, None] * columns + np.arange(columns)
        shift = np.where(place & 1, 0, 4).astype(np.uint8)
        codes = self._packed.array().reshape(-1).view(np.uint8)[place >> 1] >> shift & 15
        out: Floats = self._table[codes] * self._scales()[place // self._block]
        return out

    def _scales(self) -> Floats:
        """The absmax of every block."""
        absmax = self._absmax.array()
        if self._nested is None:
            return absmax
        levels, outer, size, offset = self._nested
        out: Floats = levels.array()[absmax] * outer.array()[np.arange(len(absmax)) // size] + offset
        return out


class Int8(Integers):
    """One weight in INT8, a scale to a row."""

    def __init__(self, base: str, tensors: dict[str, Tensor]) -> None:
        weight = take(tensors, f"{base}.weight", ("I8",), (None, None))
        rows, columns = weight.shape
        scb = take(tensors, f"{base}.SCB", ("F32",), (rows,))
        super().__init__(
            weight.name, "bitsandbytes INT8", (rows, columns), weight.nbytes + scb.nbytes, -128, 127,
            even_groups(columns, -1),
        )  # fmt: skip
        self._weight, self._scale = weight, scb.array() / np.float32(127)

    def codes(self, rows: Rows) -> NDArray[np.int16]:
        return self._weight.rows(rows).astype(np.int16)

    def scales(self, rows: Rows) -> Floats:
        out: Floats = self._scale[rows, None]
        return out

    def zeros(self, rows: Rows) -> NDArray[np.int16]:
        return np.zeros((len(rows), 1), np.int16)


def _state(tensor: Tensor) -> dict[str, Any]:
    try:
        found = json.loads(tensor.array().tobytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"tensor {shown(tensor.name)}: no JSON: {shown(error, 120)}") from None
    if not isinstance(found, dict):
        raise ModelError(f"tensor {shown(tensor.name)}: expected a JSON object")
    return found


def _shape(state: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = state.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < 1 << 31 for n in shape):
        raise ModelError(f"tensor {shown(name)}: shape of its quant_state is {shown(shape, 40)}; expected two sizes")
    return tuple(shape)


def _number(state: dict[str, Any], key: str, name: str) -> int:
    value = state.get(key)
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise ModelError(
            f"tensor {shown(name)}: {key} of its quant_state is {shown(value, 40)}; expected a whole number from 1 to "
            f"{MAX_SIZE}"
        )
    return value
