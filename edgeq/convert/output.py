"""A plan into a file: tensor by tensor, a few rows at a time, so that memory stays bounded whatever the size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeq import gguf, quants
from edgeq.convert import grid
from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.plan import Item
from edgeq.convert.source import Floats, Integers, Rows
from edgeq.errors import FormatError, ModelError, UsageError, shown
from edgeq.gguf import Value
from edgeq.quants import by_name, gain
from edgeq.quants.encode import can_encode
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

CHUNK = 1 << 22  # weights at a time: 16 MB of float32

Told = Callable[[Item, int], None]
"""Told of bytes of a tensor that were written."""


ROUNDING = {"F16": 2.0**-11, "BF16": 2.0**-8}
"""The largest share by which rounding to the type changes a number that is not too small for it."""

FEW = 8  # names in a note


class Error(Record):
    """What the file's value differs by from the checkpoint's: root of the mean square as a share of that of the values,
    and the largest difference."""

    rms: float
    largest: float

    @property
    def none(self) -> bool:
        return self.largest == 0.0


def write(
    checkpoint: Checkpoint,
    target: str,
    metadata: dict[str, Value],
    items: list[Item],
    overwrite: bool = False,
    told: Told = lambda item, nbytes: None,
    sources: Iterable[StrPath] = (),
) -> dict[str, Error]:
    """Writes the file, but over none of the checkpoint's files and `sources`; gives what rounding cost each tensor that
    the checkpoint has quantized.

    Raises ModelError, naming the tensor, for weights that are not finite; nothing is left behind then."""
    check_encoders(items)
    checkpoint.check_unchanged()
    errors: dict[str, Error] = {}
    infos = [(item.name, item.shape, item.format) for item in items]
    with gguf.Writer(target, metadata, infos, overwrite=overwrite, sources=[*checkpoint.files, *sources]) as file:
        for item in items:
            sums = _Sums() if item.quantized else None
            file.write(item.name, _streamed(chunks(item, sums), item, checkpoint, told))
            checkpoint.release()
            if sums is not None:
                errors[item.name] = sums.error()
    return errors


def losses(items: list[Item], errors: dict[str, Error]) -> Iterator[str]:
    """The warnings on tensors whose floats lost far more than their type rounds."""
    for fmt, most in ROUNDING.items():
        found = [i.name for i in items if i.format == fmt and i.name in errors and errors[i.name].rms > 2 * most]
        if found:
            which = ", ".join(f"{shown(name)} {100 * errors[name].rms:.3g} %" for name in found[:FEW])
            more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
            wider = "bf16 or f32" if fmt == "F16" else "f32"
            yield (
                f"warning: {len(found)} tensor{'s' * (len(found) > 1)} lost far more than {fmt} rounds "
                f"({100 * most:.2g} %), with numbers too small for it: {which}{more}; take --type {wider}"
            )


def chunks(item: Item, sums: _Sums | None = None) -> Iterator[NDArray[np.uint8]]:
    """The bytes of a tensor, a few rows at a time. `sums` takes in what they differ by from the source."""
    if item.values is not None:
        yield _encoded(item.values[None], item)
        return
    columns = math.prod(item.shape[1:])
    step = max(1, CHUNK // max(columns, 1))
    for start in range(0, item.shape[0], step):
        rows = np.arange(start, min(item.shape[0], start + step))
        values = _values(item, rows if item.rows is None else item.rows[rows], start)
        if item.taken and isinstance(item.source, Integers):
            data = grid.blocks(item.source, item.format, rows if item.rows is None else item.rows[rows])
        else:
            data = _encoded(values[None] if values.ndim == 1 else values, item)
        if sums is not None:
            sums.add(values.reshape(-1), quants.dequantize(data, item.format).reshape(-1))
        yield data


def check_encoders(items: list[Item]) -> None:
    """Raises UsageError for a format that cannot be written."""
    for item in items:
        if not item.taken and not can_encode(by_name(item.format)):
            raise UsageError(f"tensor {item.name}: {item.format} is no format of weights; take another --type")


def _encoded(values: Floats, item: Item) -> NDArray[np.uint8]:
    importance = None if item.importance is None else item.importance[0]
    try:
        data = quants.quantize(values, item.format, importance)
    except FormatError as error:
        raise ModelError(f"tensor {shown(item.name)}: {error}; use --type bf16 or f32") from None
    if item.keep_size:
        gain.keep_size(values, data, by_name(item.format), importance)
    return data


def _values(item: Item, rows: Rows, start: int) -> Floats:
    assert item.source is not None
    with np.errstate(invalid="ignore", over="ignore"):
        values = item.source.floats(rows)
    if not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0]
        value = float(values[tuple(place)])
        where = [start + int(place[0]), *(int(i) for i in place[1:])]
        raise ModelError(f"tensor {shown(item.source.name)}: {value} at {where} of {item.name}; a broken checkpoint")
    if item.plus:
        values = values + np.float32(item.plus)
    return values * np.float32(item.times) if item.times != 1.0 else values


def _streamed(
    parts: Iterator[NDArray[np.uint8]], item: Item, checkpoint: Checkpoint, told: Told
) -> Iterator[NDArray[np.uint8]]:
    for part in parts:
        yield part
        told(item, part.nbytes)
        checkpoint.check_unchanged()


class _Sums:
    """Sums over a tensor for its Error."""

    def __init__(self) -> None:
        self.square = self.reference = self.largest = 0.0

    def add(self, wanted: Floats, found: NDArray[Any]) -> None:
        off = found.astype(np.float64) - wanted
        self.square += float(off @ off)
        self.reference += float(np.square(wanted, dtype=np.float64).sum())
        self.largest = max(self.largest, float(np.abs(off).max(initial=0.0)))

    def error(self) -> Error:
        return Error(math.sqrt(self.square / self.reference) if self.reference else 0.0, self.largest)
