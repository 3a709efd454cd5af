"""Outputs where the native library wrote them, arrays once somebody asks: an answer that is the likeliest token each
time starts and ends without NumPy, whose import takes longer than a small model's first step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeq import _lib

if TYPE_CHECKING:
    import numpy as np


class Row:
    """Output `index` of `rows`: float32 [width]."""

    def __init__(self, rows: Rows, index: int) -> None:
        self._rows, self._index = rows, index

    def __len__(self) -> int:
        return self._rows.width

    def first_maximum(self) -> int:
        """Position of the largest value, the first of equals; -1 if a value is NaN or infinite."""
        rows = self._rows
        return int(_lib.lib.eq_first_maximum(rows.data + self._index * rows.width, rows.width))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        return np.array(as_array(self._rows)[self._index], dtype, copy=copy)


class Rows:
    """float32 [count, width] in `data`, cffi's float[] that owns its memory. Arrays made of it share that memory."""

    def __init__(self, data: Any, count: int, width: int) -> None:
        self.data, self._count, self.width = data, count, width

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:
        if not -self._count <= index < self._count:
            raise IndexError(f"row {index} of {self._count}")
        return Row(self, index % self._count)

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, i) for i in range(self._count))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        shape = self._count, self.width
        if not self._count:
            return np.empty(shape, np.float32 if dtype is None else dtype)
        values = np.frombuffer(_lib.ffi.buffer(self.data), np.float32).reshape(shape)
        return np.array(values, dtype, copy=copy)


def as_array(values: Any) -> np.ndarray:
    """A Row, Rows or array as an array, without a copy."""
    import numpy as np

    return np.asarray(values)
