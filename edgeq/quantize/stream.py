"""A tensor in one format becomes bytes in another, piece by piece on all threads: memory does not grow with tensors."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

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
_GOLDEN = (5**0.5 - 1) / 2  # its multiples lie evenly between whole numbers, however many there are
_T = TypeVar("_T")


class Loss(Record):
    """Of the rows that were looked at: sums of w e² and w x², w the importance or 1, and how many rows they were."""

    squared: float = 0.0
    power: float = 0.0
    rows: int = 0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.squared + other.squared, self.power + other.power, self.rows + other.rows)

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

    def submitted() -> Iterator[Future[Piece]]:
        for job in jobs:
            for first, rows, matrix in _runs(job.tensor.shape):
                data = _read(job.tensor, first, rows)
                yield pool.submit(_convert, job, data, range(first, first + rows), matrix)

    return _in_order(submitted(), threads)


def losses(jobs: Iterable[Job], pool: ThreadPoolExecutor, threads: int) -> Iterator[Loss]:
    """What each tensor would lose: an estimate from as many rows as a piece has, spread over the tensor. The same for
    any number of threads; FormatError as `pieces`, if such a number is in one of these rows."""

    def submitted() -> Iterator[Future[Loss]]:
        for job in jobs:
            rows = spread(math.prod(job.tensor.shape[:-1]), _step(job.tensor.shape))
            data = np.concatenate([_read(job.tensor, int(row), 1) for row in rows])
            yield pool.submit(_tried, job, data, rows)

    return _in_order(submitted(), threads)


def _in_order(futures: Iterable[Future[_T]], threads: int) -> Iterator[_T]:
    """Their results, with few of them in work at a time."""
    waiting: deque[Future[_T]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) >= _AHEAD * threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(tensor: Tensor, first: int, rows: int) -> U8:
    """Rows as they are in the file, uint8 [rows, bytes of a row]."""
    size = tensor.format.row_bytes(tensor.shape[-1])
    return np.frombuffer(tensor.read(first * size, rows * size), np.uint8).reshape(rows, size)


def spread(total: int, n: int) -> NDArray[np.int64]:
    """Numbers of n of so many rows, or of all: one from each of n equal stretches, at another place in each, so that
    they do not keep step with what repeats, as heads do."""
    n = min(n, total)
    ends = np.arange(n + 1) * total // n
    places = np.arange(n) * _GOLDEN % 1.0
    return ends[:-1] + (places * np.diff(ends)).astype(np.int64)


def count(shape: tuple[int, ...]) -> int:
    """How many pieces a tensor of this shape comes in."""
    return sum(1 for _ in _runs(shape))


def _runs(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """(first row, rows, matrix) of each piece; none crosses from one matrix of a stack to the next."""
    per_matrix, step = shape[-2] if len(shape) > 1 else 1, _step(shape)
    for matrix in range(matrices_of(shape)):
        for row in range(0, per_matrix, step):
            yield matrix * per_matrix + row, min(step, per_matrix - row), matrix


def _step(shape: tuple[int, ...]) -> int:
    """Rows of a piece."""
    return max(1, _WEIGHTS // max(1, shape[-1]))


def matrices_of(shape: tuple[int, ...]) -> int:
    """How many matrices are stacked in a tensor of this shape."""
    return int(np.prod(shape[:-2], dtype=np.int64)) if len(shape) > 2 else 1


def _convert(job: Job, data: U8, rows: Sequence[int], matrix: int) -> Piece:
    x, out, w = _encoded(job, data, rows, matrix)
    some = spread(len(x), -(-len(x) // _SAMPLE))
    return Piece(out, _loss(x[some], out[some], job.target, w))


def _tried(job: Job, data: U8, rows: NDArray[np.int64]) -> Loss:
    """The loss of rows [R, bytes of a row] with these numbers, all of them."""
    matrices = rows // (job.tensor.shape[-2] if len(job.tensor.shape) > 1 else 1)
    loss = Loss()
    for matrix in np.unique(matrices):
        mine = matrices == matrix
        x, out, w = _encoded(job, data[mine], rows[mine], int(matrix))
        loss += _loss(x, out, job.target, w)
    return loss


def _encoded(job: Job, data: U8, rows: Sequence[int] | NDArray[np.int64], matrix: int) -> tuple[F32, U8, F32 | None]:
    """Rows of one matrix with these numbers in the tensor: as floats, in their new format, and their importance."""
    fmt = job.tensor.format
    # of F64 the encoder takes the numbers as they are, and so can name one that is too large
    exact = quants.dequantize(data, fmt) if fmt.name == "F64" else floats(data, fmt)
    w = None if job.importance is None else job.importance[matrix]
    try:
        out = encode.quantize(exact, job.target, w, 1, rows)
        x = exact.astype(np.float32, copy=False)
        if job.keep_size:
            gain.keep_size(x, out, job.target, w)
    except FormatError as e:
        raise FormatError(f"tensor {shown(job.tensor.name)}, rows from {rows[0]} on: {e}") from None
    return x, out, w


def _loss(x: F32, data: U8, fmt: Format, importance: F32 | None) -> Loss:
    exact = x.astype(np.float64)
    error = floats(data, fmt) - exact
    w = np.ones(x.shape[-1]) if importance is None else importance
    return Loss(float((error * error).sum(axis=0) @ w), float((exact * exact).sum(axis=0) @ w), len(x))


def floats(data: U8, fmt: Format) -> F32:
    """Rows of any format as float32, by the native library where there is one."""
    if fmt.linear and native.available():
        return native.decode_rows(data, fmt)
    with np.errstate(over="ignore"):  # of F64: the encoder names what is too large
        return quants.dequantize(data, fmt).astype(np.float32, copy=False)
