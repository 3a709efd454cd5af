"""From numbers to bytes: checks what comes, hands rows to the native encoders or to their NumPy twin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import FormatError, UsageError, check_count
from edgeq.quants import decode, native
from edgeq.quants.bits import F32, U8
from edgeq.quants.table import FORMATS, Format
from edgeq.record import Record

# Beyond these, a scale or a number does not fit its field, or squares overflow.
_LARGEST = {"F16": 65504.0, "BF16": 3.38e38, "F32": float(np.finfo(np.float32).max), "MXFP4": 1e18, "NVFP4": 2688.0}
_LEVEL = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 127, "IQ4_NL": 127, "Q2_0": 2, "Q2_K": 3 * 15, "IQ4_XS": 127 * 31}
_WORK = 1 << 16  # weights that one thread takes at a time
_DIRECT = ("F32", "F16", "BF16")


def can_encode(fmt: Format) -> bool:
    """Whether `quantize` writes this format."""
    if fmt.name in _DIRECT:
        return True
    from edgeq.quants.encoders import ENCODERS

    return fmt.name in ENCODERS


def quantize(
    array: NDArray[Any], fmt: Format, importance: NDArray[Any] | None, threads: int | None,
    numbers: Sequence[int] | NDArray[np.int64] | None = None,
) -> U8:  # fmt: skip
    """See `edgeq.quants.quantize`. numbers: of the rows of an array [R, n] in its tensor, for errors."""
    if not can_encode(fmt):
        known = ", ".join(name for name in FORMATS if can_encode(FORMATS[name]))
        raise UsageError(f"{fmt.name} cannot be written: expected one of {known}")
    threads = check_count("threads", threads)
    x = _numbers(array, fmt, numbers)
    count = math.prod(x.shape[:-1])
    rows = x.reshape(count, x.shape[-1])
    out = np.empty((count, fmt.row_bytes(x.shape[-1])), np.uint8)
    for at, end, weights in _matrices(x, importance):
        _encode(rows[at:end], fmt, weights, out[at:end], threads)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _numbers(array: NDArray[Any], fmt: Format, numbers: Sequence[int] | NDArray[np.int64] | None = None) -> F32:
    """The array as float32, C-contiguous, every number one that the format can hold."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim == 0:
        found = f"{array.dtype} with {array.ndim} axes" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"{fmt.name}: expected an array of floats with at least one axis, found {found}")
    fmt.row_bytes(array.shape[-1])
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(array, dtype=np.float32)
    limit = _LARGEST.get(fmt.name, 65504.0 * _LEVEL.get(fmt.name, 1))
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (-limit <= low and high <= limit):  # also where one is NaN
        at = tuple(int(i) for i in np.argwhere(~(np.abs(x) <= limit))[0])
        place = list(at) if numbers is None else [int(numbers[at[0]]), *at[1:]]
        raise FormatError(
            f"{fmt.name}: found {array[at]} at {place}; expected finite numbers of at most {limit:.5g} in magnitude"
        )
    return x


def _matrices(x: F32, importance: NDArray[Any] | None) -> Iterator[tuple[int, int, F32 | None]]:
    """Runs of rows (first, end) that share one importance [n]."""
    n, rows = x.shape[-1], math.prod(x.shape[:-1])
    if importance is None:
        yield 0, rows, None
        return
    w = _importance(x.shape, importance)
    matrices = w.reshape(math.prod(w.shape[:-1]), n)
    per = rows // max(1, len(matrices))
    for i, row in enumerate(matrices):
        # only ratios count; float32 then holds them whatever their unit
        yield i * per, (i + 1) * per, (row / (row.max(initial=0.0) or 1.0)).astype(np.float32)


def _importance(shape: tuple[int, ...], importance: NDArray[Any]) -> NDArray[np.float64]:
    """The importances of an array of this shape, [n] or one [n] for each matrix of a stack. UsageError for others."""
    n = shape[-1]
    try:
        w = np.asarray(importance)
    except ValueError:  # rows of several lengths
        raise UsageError(f"importance: expected numbers of shape {[n]}, found rows of several lengths") from None
    if w.dtype.kind not in "fiu" or w.shape not in ((n,), (*shape[:-2], n)):
        raise UsageError(
            f"importance: expected numbers of shape {[n]}"
            + (f" or {[*shape[:-2], n]}" if len(shape) > 2 else "")
            + f", one for each column, found {w.dtype} {list(w.shape)}"
        )
    w = w.astype(np.float64)
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise UsageError("importance: expected finite numbers that are not negative")
    return w


def _encode(x: F32, fmt: Format, importance: F32 | None, out: U8, threads: int | None) -> None:
    """Encodes rows x into `out`, both C-contiguous."""
    if not x.size:
        return
    if fmt.name == "F32":
        out[:] = x.astype("<f4").view(np.uint8)
    elif not native.available():
        _encode_numpy(x, fmt, importance, out)
    elif x.size <= _WORK or threads == 1:
        native.encode_rows(x, fmt, importance, out)
    else:
        step = max(1, _WORK // x.shape[1])
        with ThreadPoolExecutor(threads or _threads()) as pool:
            jobs = [
                pool.submit(native.encode_rows, x[at : at + step], fmt, importance, out[at : at + step])
                for at in range(0, len(x), step)
            ]
            for job in jobs:
                job.result()


def _encode_numpy(x: F32, fmt: Format, importance: F32 | None, out: U8) -> None:
    if fmt.name == "F16":
        out[:] = x.astype("<f2").view(np.uint8)
    elif fmt.name == "BF16":
        bits = x.view(np.uint32)
        out[:] = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").view(np.uint8)
    else:
        from edgeq.quants import encoders

        out[:] = encoders.encode(x, fmt, importance)


def _threads() -> int:
    from edgeq import machine

    return machine.threads_to_use()


class ErrorReport(Record):
    """What a format lost of a tensor; e = x - x̂, w the importance of a column or 1.

    `squared`: sum of w e²; `power`: sum of w x²; `relative`: the root of their ratio; `rmse`: the root of the mean
    e²; `largest`: the largest |e|; `cosine`: of x and x̂. `rows`: relative error of each row, float64 [...] (a row
    is an output channel: the per-channel view); `blocks`: sum of w e² of each block, float64 [..., n / block].
    """

    format: str
    squared: float
    power: float
    relative: float
    rmse: float
    largest: float
    cosine: float
    rows: NDArray[np.float64]
    blocks: NDArray[np.float64]


def error_report(array: NDArray[Any], data: U8, fmt: Format, importance: NDArray[Any] | None) -> ErrorReport:
    """See `edgeq.quants.error_report`."""
    x = np.asarray(array)
    if x.dtype.kind not in "biuf":
        raise UsageError(f"{fmt.name}: expected an array of numbers, found {x.dtype}")
    x = x.astype(np.float64)
    if not (np.abs(x) <= _LARGEST["F32"]).all():
        at = [int(i) for i in np.argwhere(~(np.abs(x) <= _LARGEST["F32"]))[0]]
        raise FormatError(f"{fmt.name}: found {x[tuple(at)]} at {at}; expected finite numbers that float32 can hold")
    y = decode.dequantize(data, fmt).astype(np.float64)
    if x.shape != y.shape:
        raise UsageError(f"{fmt.name}: expected data for shape {list(x.shape)}, found shape {list(y.shape)}")
    w = np.ones(x.shape[-1:]) if importance is None else _importance(x.shape, importance)
    w = w[..., None, :] if w.ndim > 1 else w
    e2, x2 = w * (x - y) ** 2, w * x**2
    squared, power = float(e2.sum()), float(x2.sum())
    norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
    with np.errstate(all="ignore"):
        rows = np.sqrt(e2.sum(axis=-1) / x2.sum(axis=-1))
    return ErrorReport(
        format=fmt.name,
        squared=squared,
        power=power,
        relative=float(np.sqrt(squared / power)) if power else float(squared > 0),
        rmse=float(np.sqrt(((x - y) ** 2).mean())) if x.size else 0.0,
        largest=float(np.abs(x - y).max()) if x.size else 0.0,
        cosine=float((x * y).sum()) / norm if norm else 1.0,
        rows=np.nan_to_num(rows, nan=0.0),
        blocks=e2.reshape(*x.shape[:-1], x.shape[-1] // fmt.block, fmt.block).sum(axis=-1),
    )
