"""Where the numbers of a tensor come from: rows of it as float32, whatever the checkpoint keeps them as.

`Plain` is a tensor of floats. `Integers` is anything quantized to whole numbers with a scale, and a zero, per group of
columns: what GPTQ, AWQ, compressed-tensors and INT8 share, each with its own packing."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.floats import FLOATS, decode
from edgeq.convert.safetensors import Tensor
from edgeq.errors import ModelError, shown

Rows = NDArray[np.intp]
Floats = NDArray[np.float32]


class Source(Protocol):
    """A tensor, one-dimensional or a matrix. `kind` says how the checkpoint keeps it: a dtype, or a method."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int:
        """Bytes in the checkpoint, scales included."""
        ...

    def floats(self, rows: Rows) -> Floats:
        """These rows as float32 [len(rows), columns]; of a vector these elements, as float32 [len(rows)]."""
        ...


class Plain:
    """A tensor of floats as it is. Raises ModelError for one of whole numbers."""

    def __init__(self, tensor: Tensor) -> None:
        if tensor.dtype not in FLOATS:
            raise ModelError(
                f"tensor {shown(tensor.name)}: {tensor.dtype}, expected floats ({', '.join(FLOATS)}); "
                "the checkpoint is quantized in a way that its config.json does not name"
            )
        self.name, self.kind, self.shape, self.nbytes = tensor.name, tensor.dtype, tensor.shape, tensor.nbytes
        self._tensor = tensor

    def floats(self, rows: Rows) -> Floats:
        return decode(self._tensor.rows(rows), self.kind)

    def same(self, other: Source | None) -> bool:
        """Whether the other is a tensor of the same bytes."""
        return isinstance(other, Plain) and self._tensor.same(other._tensor)


class Integers:
    """Whole numbers q with value (q - zero) · scale. A method subclasses it and says where its numbers lie.

    `low` and `high` bound q. `groups`: the group of each column, int [columns]; scales and zeros are per row and group.
    """

    def __init__(
        self, name: str, kind: str, shape: tuple[int, int], nbytes: int, low: int, high: int, groups: NDArray[np.intp]
    ) -> None:
        self.name, self.kind, self.shape, self.nbytes = name, kind, shape, nbytes
        self.low, self.high, self.groups = low, high, groups

    def codes(self, rows: Rows) -> NDArray[np.int16]:
        """q of these rows, int16 [n, columns]."""
        raise NotImplementedError

    def scales(self, rows: Rows) -> Floats:
        """float32 [n, groups]."""
        raise NotImplementedError

    def zeros(self, rows: Rows) -> NDArray[np.int16]:
        """int16 [n, groups]."""
        raise NotImplementedError

    def levels(self, rows: Rows) -> NDArray[np.int16]:
        """q - zero, int16 [n, columns]."""
        return self.codes(rows) - self.zeros(rows)[:, self.groups]

    def floats(self, rows: Rows) -> Floats:
        return self.levels(rows).astype(np.float32) * self.scales(rows)[:, self.groups]


def even_groups(columns: int, size: int) -> NDArray[np.intp]:
    """The group of each column where groups are `size` neighbours; size -1 is one group for all."""
    return np.arange(columns) // (size if size > 0 else max(columns, 1))


def unpack(words: NDArray[Any], bits: int, count: int) -> NDArray[np.uint8]:
    """Numbers of `bits` bits that lie one after another, lowest bits first, in int32 [..., words]: [..., count]."""
    data = np.ascontiguousarray(words).view(np.uint8)
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        out: NDArray[np.uint8] = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
        return out.reshape(*data.shape[:-1], -1)[..., :count]
    ones = np.unpackbits(data, axis=-1, count=count * bits, bitorder="little")
    places = np.left_shift(1, np.arange(bits)).astype(np.uint8)
    whole: NDArray[np.uint8] = (ones.reshape(*data.shape[:-1], count, bits) * places).sum(-1, dtype=np.uint8)
    return whole
