"""A tensor in one format becomes bytes in another, piece by piece on all threads: memory does not grow with tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from edgeq import quants
from edgeq.errors import FormatError, shown
from edgeq.quants import Format, encode, gain, native
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


class Job(Record):
    """A tensor to encode. importance: [matrices, columns] or None; keep_size: see `edgeq.quants.gain`."""

    tensor: Tensor
    target: Format
    importance: F32 | None
    keep_size: bool = False


def pieces(jobs: Iterable[Job], pool: ThreadPoolExecutor, threads: int) -> Iterator[Piece]:
    """The rows of all tensors in their new formats, in order; work goes on across the end of a tensor.

    FormatError naming the tensor and the place for numbers that are not finite or too large for the format.
    """
    waiting: deque[Future[Piece]] = deque()
    for job in jobs:
        tensor = job.tensor
        size = tensor.format.row_bytes(tensor.shape[-1])
        for first, rows, matrix in _runs(tensor.shape):
            data = np.frombuffer(tensor.read(first * size, rows * size), np.uint8).reshape(rows, size)
            waiting.append(pool.submit(_convert, job, data, first, matrix))
            if len(waiting) >= _AHEAD * threads:
                yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def count(shape: tuple[int, ...]) -> int:
    """How many pieces a tensor of this shape comes in."""
    return sum(1 for _ in _runs(shape))


def _runs(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """(first row, rows, matrix) of each piece; none crosses from one matrix of a stack to the next."""
    columns, per_matrix = shape[-1], shape[-2] if len(shape) > 1 else 1
    step = max(1, _WEIGHTS // max(1, columns))
    for matrix in range(matrices_of(shape)):
        for row in range(0, per_matrix, step):
            yield matrix * per_matrix + row, min(step, per_matrix - row), matrix


def matrices_of(shape: tuple[int, ...]) -> int:
    """How many matrices are stacked in a tensor of this shape."""
    return int(np.prod(shape[:-2], dtype=np.int64)) if len(shape) > 2 else 1


def _convert(job: Job, data: U8, first: int, matrix: int) -> Piece:
    fmt = job.tensor.format
    # of F64 the encoder takes the numbers as they are, and so can name one that is too large
    exact = quants.dequantize(data, fmt) if fmt.name == "F64" else floats(data, fmt)
    w = None if job.importance is None else job.importance[matrix]
    try:
        out = encode.quantize(exact, job.target, w, 1, range(first, first + len(exact)))
        x = exact.astype(np.float32, copy=False)
        if job.keep_size:
            gain.keep_size(x, out, job.target, w)
    except FormatError as e:
        raise FormatError(f"tensor {shown(job.tensor.name)}, rows from {first} on: {e}") from None
    return Piece(out, _loss(x[::_SAMPLE], out[::_SAMPLE], job.target, w))


def _loss(x: F32, data: U8, fmt: Format, importance: F32 | None) -> Loss:
    exact = x.astype(np.float64)
    error = floats(np.ascontiguousarray(data), fmt) - exact
    w = np.ones(x.shape[-1]) if importance is None else importance
    return Loss(float((error * error).sum(axis=0) @ w), float((exact * exact).sum(axis=0) @ w))


def floats(data: U8, fmt: Format) -> F32:
    """Rows of any format as float32, by the native library where there is one."""
    if fmt.linear and native.available():
        return native.decode_rows(data, fmt)
    with np.errstate(over="ignore"):  # of F64: the encoder names what is too large
        return quants.dequantize(data, fmt).astype(np.float32, copy=False)
