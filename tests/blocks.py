"""Random weights in memory: valid blocks of any format, and a source that backends take instead of a file."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping

import numpy as np

from edgeq import quants


class MemoryTensor:
    """What a backend asks of a tensor: bytes, address, shape, format."""

    def __init__(self, name: str, fmt: str, shape: tuple[int, ...], data: np.ndarray) -> None:
        self.name, self.format, self.shape = name, quants.FORMATS[fmt], shape
        self.data = np.ascontiguousarray(data)
        self.nbytes = self.data.nbytes
        self.address = self.data.ctypes.data

    def values(self) -> np.ndarray:
        return quants.dequantize(self.data, self.format).reshape(self.shape)


class MemoryWeights(dict[str, MemoryTensor]):
    """Tensors by name; `mappings` is empty because nothing is mapped."""

    def mappings(self) -> list[tuple[int, int]]:
        return []

    def formats(self, program: object) -> frozenset[str]:
        return frozenset(t.format.name for t in self.values())


def random_blocks(rng: np.random.Generator, fmt: str, rows: int, cols: int, size: float = 1.0) -> np.ndarray:
    """uint8 [rows, bytes]: random bytes as weights, scales of such a size that weights are around `size`."""
    f = quants.FORMATS[fmt]
    if fmt in ("F32", "F16", "BF16"):
        x = rng.standard_normal((rows, cols)).astype(np.float32) * size
        if fmt == "BF16":
            return (x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(rows, -1)
        return x.astype(np.float16 if fmt == "F16" else np.float32).view(np.uint8).reshape(rows, -1)
    blocks = rng.integers(0, 256, (rows, cols // f.block, f.nbytes), np.uint8)
    for kind, at in quants.scale_fields(fmt):
        n = rows * blocks.shape[1]
        if kind == "F16":
            half = (rng.uniform(0.2, 1.0, n) * rng.choice((-1, 1), n) * size / 64).astype(np.float16)
            blocks[..., at : at + 2] = half.view(np.uint8).reshape(rows, -1, 2)
        elif kind == "E8M0":
            blocks[..., at] = rng.integers(118, 126, n, np.uint8).reshape(rows, -1)
        elif kind == "UE4M3":
            blocks[..., at] = rng.integers(8, 64, n, np.uint8).reshape(rows, -1)
        elif kind == "IQ1_M":  # the fp16 lies in the top nibbles of four 16-bit words: 0x2cxx is about 0.06
            blocks[..., at + 7] = (blocks[..., at + 7] & 0x0F) | 0x20
            blocks[..., at + 5] = (blocks[..., at + 5] & 0x0F) | 0xC0
    return blocks.reshape(rows, -1)


def tensor(rng: np.random.Generator, name: str, fmt: str, *shape: int, size: float = 1.0) -> MemoryTensor:
    rows = int(np.prod(shape[:-1], dtype=int))
    return MemoryTensor(name, fmt, shape, random_blocks(rng, fmt, rows, shape[-1], size))


def fenced(given: MemoryTensor) -> MemoryTensor:
    """The same tensor where behind its last byte begins a page that nobody may read (POSIX only)."""
    page = mmap.PAGESIZE
    room = -(-given.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, room + page), np.uint8)
    if os.name == "posix":
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert mprotect(memory.ctypes.data + room, page, 0) == 0
    memory[room - given.nbytes : room] = given.data.reshape(-1)
    data = memory[room - given.nbytes : room].reshape(given.data.shape)
    return MemoryTensor(given.name, given.format.name, given.shape, data)


def filled(rng: np.random.Generator, refs: list[tuple[str, tuple[int, ...]]], formats: Mapping[str, str], default: str,
           size: float) -> MemoryWeights:  # fmt: skip
    """A tensor for every reference: vectors float32 around 1, matrices of the format named for them."""
    out = MemoryWeights()
    for name, shape in refs:
        if len(shape) == 1:
            data = (1 + 0.1 * rng.standard_normal((1, shape[0]))).astype(np.float32).view(np.uint8)
            out[name] = MemoryTensor(name, "F32", shape, data)
        else:
            out[name] = tensor(rng, name, formats.get(name, default), *shape, size=size)
    return out
