"""Keys and values of the numba backend: [sequences, K, ring] rows of one head each, as bytes. Knows no kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq import quants
from edgeq.backends.base import KV_TYPES, State, ring_size
from edgeq.backends.numba_compile import address
from edgeq.backends.numba_kv import LOAD, STORE
from edgeq.errors import MemoryLimitError, UsageError, shown
from edgeq.program import CacheSpec, Program


class NumbaState(State):
    """Two byte arrays per cache; memory is touched only as positions are written."""

    def __init__(self, owner: object, program: Program, sequences: int, context: int, kv_type: str, chunk: int) -> None:
        if kv_type not in KV_TYPES:
            raise UsageError(f"KV type {shown(kv_type)}: expected {', '.join(KV_TYPES)}")
        if sequences < 1 or context < 1:
            raise UsageError(f"state of {sequences} sequences and {context} positions: expected at least one of each")
        self.owner, self.program = owner, program
        self.sequences, self.context, self.kv_type = sequences, context, kv_type
        self.rings = tuple(ring_size(c, context, chunk) for c in program.caches)
        try:
            shapes = [(sequences, c.kv_heads, r, _row_bytes(c, kv_type)) for c, r in zip(program.caches, self.rings)]
            self.arrays = [tuple(np.zeros(shape, np.uint8) for _ in "kv") for shape in shapes]
        except (MemoryError, ValueError):
            raise MemoryLimitError(
                f"no memory for keys and values of {sequences} sequences of {context} positions; "
                "a smaller context or a quantized KV type needs less"
            ) from None
        words = [(k.ctypes.data, v.ctypes.data, ring, k.shape[3]) for (k, v), ring in zip(self.arrays, self.rings)]
        self.kernels = [address(kernels[kv_type]) for kernels in (STORE, LOAD)]
        self.words = np.array(words, np.int64).reshape(-1, 4)  # what kernels read of a cache

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for pair in self.arrays for a in pair)

    def _parts(self, sequence: int, length: int) -> list[Any]:
        """What the caches have of the first `length` positions, as views."""
        if not 0 <= sequence < self.sequences:
            raise UsageError(f"sequence {sequence}: expected 0 to {self.sequences - 1}")
        if not 0 <= length <= self.context:
            raise UsageError(f"{length} positions: expected 0 to {self.context}")
        return [a[sequence, :, :length] for pair in self.arrays for a in pair]

    def copy(self, source: int, target: int, length: int) -> None:
        for old, new in zip(self._parts(source, length), self._parts(target, length)):
            new[...] = old

    def snapshot(self, sequence: int, length: int) -> bytes:
        return b"".join(part.tobytes() for part in self._parts(sequence, length))

    def restore(self, sequence: int, data: bytes, length: int) -> None:
        parts = self._parts(sequence, length)
        expected = sum(part.nbytes for part in parts)
        if len(data) != expected:
            raise UsageError(f"snapshot of {length} positions: {len(data)} bytes, expected {expected}")
        at = 0
        for part in parts:
            part[...] = np.frombuffer(data, np.uint8, part.size, at).reshape(part.shape)
            at += part.nbytes


def _row_bytes(cache: CacheSpec, kv_type: str) -> int:
    fmt = quants.FORMATS[kv_type]
    if cache.head_dim % fmt.block:
        raise UsageError(
            f"KV type {kv_type}: layer {cache.layer} has heads of {cache.head_dim}, "
            f"expected a multiple of {fmt.block}; use F16"
        )
    return fmt.row_bytes(cache.head_dim)
