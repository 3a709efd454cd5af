"""Quantized weights packed as the tools that make them pack them, written from the formats' descriptions with plain
loops; each packer also gives the value of every weight, in float64."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgeq.convert.safetensors import File, Tensor

Array = np.ndarray[Any, Any]
Entries = dict[str, tuple[str, Array]]
NAMES = {"f4": "F32", "f2": "F16", "i4": "I32", "i8": "I64", "i1": "I8", "u1": "U8"}


def entry(array: Array, dtype: str = "") -> tuple[str, Array]:
    return dtype or NAMES[array.dtype.str[1:]], array


def tensors(entries: Entries) -> dict[str, Tensor]:
    """As a checkpoint's reader gives them."""
    return {n: Tensor(n, d, a.shape, Held(a), 0) for n, (d, a) in entries.items()}


class Held(File):
    """A file that is an array."""

    def __init__(self, array: Array) -> None:
        super().__init__("test")
        self.data = np.frombuffer(array.tobytes(), np.uint8)

    def read(self, at: int, n: int) -> Array:
        return self.data[at : at + n].copy()


def put_bits(words: list[int], first: int, bits: int, value: int) -> None:
    """Writes a number into words of 32 bits, bit by bit."""
    for k in range(bits):
        if value >> k & 1:
            words[(first + k) // 32] |= 1 << (first + k) % 32


def packed_bits(numbers: Array, bits: int) -> Array:
    """Each row's numbers one after another in words of 32 bits: int32 [rows, words]."""
    rows, n = numbers.shape
    out = np.zeros((rows, -(-n * bits // 32)), np.uint32)
    for r in range(rows):
        words = [0] * out.shape[1]
        for c in range(n):
            put_bits(words, c * bits, bits, int(numbers[r, c]))
        out[r] = words
    return out.view(np.int32)


def integers(rows: int, columns: int, bits: int, group: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Numbers [rows, columns], zeros and fp16 scales [rows, groups]."""
    draw = np.random.RandomState(seed)
    groups = columns // group
    scales = (0.01 + 0.02 * draw.rand(rows, groups)).astype(np.float16)
    return draw.randint(0, 1 << bits, (rows, columns)), draw.randint(1, 1 << bits, (rows, groups)), scales


def values(numbers: Array, zeros: Array, scales: Array, groups: Array) -> Array:
    return (numbers - zeros[:, groups]) * scales.astype(np.float64)[:, groups]


def gptq(base: str, numbers: Array, zeros: Array, scales: Array, groups: Array, bits: int, less_one: bool) -> Entries:
    stored = (zeros - 1) % (1 << bits) if less_one else zeros
    return {
        f"{base}.qweight": entry(np.ascontiguousarray(packed_bits(numbers, bits).T)),
        f"{base}.qzeros": entry(packed_bits(stored.T, bits)),
        f"{base}.scales": entry(np.ascontiguousarray(scales.T)),
        f"{base}.g_idx": entry(groups.astype(np.int32)),
    }


def awq(base: str, numbers: Array, zeros: Array, scales: Array) -> Entries:
    def words(table: Array) -> Array:  # [n, outputs] → [n, outputs / 8]
        out = np.zeros((table.shape[0], table.shape[1] // 8), np.uint32)
        for nibble, output in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
            out |= (table[:, output::8].astype(np.uint32)) << np.uint32(4 * nibble)
        return out.view(np.int32)

    return {
        f"{base}.qweight": entry(words(numbers.T)),
        f"{base}.qzeros": entry(words(zeros.T)),
        f"{base}.scales": entry(np.ascontiguousarray(scales.T)),
    }


def compressed(base: str, numbers: Array, zeros: Array | None, scales: Array, bits: int) -> Entries:
    out = {
        f"{base}.weight_packed": entry(packed_bits(numbers, bits)),
        f"{base}.weight_scale": entry(scales),
        f"{base}.weight_shape": entry(np.array(numbers.shape, np.int64)),
    }
    if zeros is not None:
        out[f"{base}.weight_zero_point"] = entry(np.ascontiguousarray(packed_bits(zeros.T, bits).T))
    return out


def four_bit(name: str, rows: int, columns: int, nested: bool, block: int = 64) -> tuple[Entries, Array]:
    draw = np.random.RandomState(3)
    codes = draw.randint(0, 16, rows * columns)
    table = np.sort(draw.rand(16).astype(np.float32) * 2 - 1)
    blocks = rows * columns // block
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": [rows, columns]}
    entries = {
        name: entry((codes[::2] << 4 | codes[1::2]).astype(np.uint8)[:, None]),
        f"{name}.quant_map": entry(table),
    }
    if nested:
        small = draw.randint(0, 256, blocks).astype(np.uint8)
        levels = draw.rand(256).astype(np.float32)
        outer = draw.rand(-(-blocks // 4)).astype(np.float32)
        state |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.25}
        absmax = np.array([levels[small[i]] * outer[i // 4] + np.float32(0.25) for i in range(blocks)], np.float64)
        entries |= {f"{name}.absmax": entry(small), f"{name}.nested_quant_map": entry(levels),
                    f"{name}.nested_absmax": entry(outer)}  # fmt: skip
    else:
        absmax = draw.rand(blocks).astype(np.float32)
        entries[f"{name}.absmax"] = entry(absmax)
    blob = np.frombuffer(json.dumps(state).encode(), np.uint8)
    entries[f"{name}.quant_state.bitsandbytes__nf4"] = entry(blob)
    wanted = [table[code] * float(absmax[i // block]) for i, code in enumerate(codes)]
    return entries, np.array(wanted, np.float64).reshape(rows, columns)
