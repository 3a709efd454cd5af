"""A tensor in one format becomes bytes in another, piece by piece on all threads: memory does not grow with tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from edgeq import quants
from edgeq.errors import FormatError, shown
from edgeq.quants import Format, native
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import Tensor
    from edgeq.quants.bits import F32, U8

_WEIGHTS = 1 << 18  # in a piece
_AHEAD = 2  # pieces in work for each thread
_SAMPLE = 16  # one row of so many is decoded again, to say what was lost


class Loss(Record):
    """Of the rows that were looked at: sums of w e² and w x², w the importance or 1."""

    squared: float = 0.0
    power: float = 0.0

    @property
    def relative(self) -> float:
        """The root of their ratio: 0.05 is an error of 5 %."""
        return float(np.sqrt(self.squared / self.power)) if self.power > 0 else 0.0


class Piece(Record):
    data: U8
    loss: Loss


def pieces(
    tensor: Tensor, target: Format, importance: F32 | None, pool: ThreadPoolExecutor, threads: int
) -> Iterator[Piece]:
    """The tensor's rows in the target format, in order. importance: [matrices, columns] or None.

    FormatError naming the tensor and the place for numbers that are not finite or too large for the format.
    """
    waiting: deque[Future[Piece]] = deque()
    for first, rows, matrix in _runs(tensor):
        size = tensor.format.row_bytes(tensor.shape[-1])
        data = np.frombuffer(tensor.read(first * size, rows * size), np.uint8).reshape(rows, size)
        w = None if importance is None else importance[matrix]
        waiting.append(pool.submit(_convert, tensor, data, first, target, w))
        if len(waiting) >= _AHEAD * threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _runs(tensor: Tensor) -> Iterator[tuple[int, int, int]]:
    """(first row, rows, matrix) of each piece; none crosses from one matrix of a stack to the next."""
    columns, per_matrix = tensor.shape[-1], tensor.shape[-2] if len(tensor.shape) > 1 else 1
    step = max(1, _WEIGHTS // max(1, columns))
    for matrix in range(matrices_of(tensor.shape)):
        for row in range(0, per_matrix, step):
            yield matrix * per_matrix + row, min(step, per_matrix - row), matrix


def matrices_of(shape: tuple[int, ...]) -> int:
    """How many matrices are stacked in a tensor of this shape."""
    return int(np.prod(shape[:-2], dtype=np.int64)) if len(shape) > 2 else 1


def _convert(tensor: Tensor, data: U8, first: int, target: Format, importance: F32 | None) -> Piece:
    x = floats(data, tensor.format)
    try:
        out = quants.quantize(x, target, importance, threads=1)
    except FormatError as e:
        raise FormatError(f"tensor {shown(tensor.name)}, rows from {first} on: {e}") from None
    some = slice(0, None, _SAMPLE)
    lost = quants.error_report(x[some], out[some], target, importance)
    return Piece(out, Loss(lost.squared, lost.power))


def floats(data: U8, fmt: Format) -> F32:
    """Rows of any format as float32, by the native library where there is one."""
    if fmt.linear and native.available():
        return native.decode_rows(data, fmt)
    with np.errstate(over="ignore"):  # of F64: the encoder names what is too large
        return quants.dequantize(data, fmt).astype(np.float32, copy=False)
