"""Merging: a model whose weights hold an adapter, W + scale · alpha / r · B A, written tensor by tensor.

Rows are decoded, summed in float32 and encoded again; other tensors are copied as they are. Memory does not depend on
the model, but for the adapters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq import gguf, quants
from edgeq.convert.metadata import file_type
from edgeq.errors import FormatError, GGUFError, ModelError, UsageError, shown
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.lora.adapter import EMBEDDING, Pair, stack
from edgeq.quantize.finite import checked
from edgeq.quantize.stream import floats
from edgeq.quants import Format, encode
from edgeq.quants.encode import can_encode
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile, Tensor
    from edgeq.gguf.reader import StrPath
    from edgeq.lora import Lora

STEP = 1 << 20  # weights at a time
SAMPLE = 16  # one row of so many is decoded again, to say what rounding did
FLOATS = ("F32", "F16", "BF16")

Progress = Callable[[int, int, str], None]  # bytes of the base done, of all, the tensor now at work


class Merged(Record):
    """A weight that was changed. Root mean squares over a sample of rows: `change` of what the adapters add, as a share
    of the weight; `rounding` of what encoding the sum lost, as a share of what they add."""

    name: str
    source: str
    target: str
    change: float
    rounding: float


class Report(Record):
    """What `merge` did."""

    paths: tuple[str, ...]
    merged: tuple[Merged, ...]


def merge(
    base: StrPath, adapters: Lora, target: StrPath, kind: str | None = None, *, overwrite: bool = False,
    threads: int | None = None, progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Writes the model `base` with adapters in its weights as `target`; the file appears when it is complete.

    adapters: as for `edgeq.load`. kind: the format of the weights that change, by default the one that each has; all
    others stay as they are, and those to which the adapters add zeros. Raises UsageError for arguments that make no
    sense, ModelError for adapters of other models and numbers that are too large, FormatError naming the tensor for
    copied weights that are not finite, GGUFError for a base that is broken or changes meanwhile, or a full disk."""
    from edgeq.lora import load_all

    with gguf.open(base) as file:
        loaded = load_all(adapters, file)
        pairs = stack(loaded)
        if not pairs:
            raise UsageError("no adapter: there is nothing to merge")
        pairs = {name: p for name, p in pairs.items() if p.a.any() and p.b.any()}  # others would be rounded for nothing
        if EMBEDDING in pairs and "output.weight" not in file.tensors:
            raise ModelError(
                f"{shown(file.path)}: its head is the embedding, and an adapter of the embedding changes what tokens "
                "become, not the head; one matrix cannot be both. Use it at run time: edgeq run --lora"
            )
        who = {name: ", ".join(shown(a.path) for a, scale in loaded if scale and name in a.pairs) for name in pairs}
        formats = {name: quants.by_name(kind) if kind else file.tensors[name].format for name in pairs}
        for name, fmt in formats.items():
            if not can_encode(fmt) or not file.tensors[name].format.linear:
                raise UsageError(f"tensor {shown(name)}: {fmt.name} cannot be written; choose a type, as f16 or q8_0")
        rows = [gguf.tensor_info(t.name, t.shape, formats.get(t.name, t.format)) for t in file.tensors.values()]
        metadata = {k: v for k, v in file.metadata.typed().items() if k not in SPLIT_KEYS}
        if kind:
            metadata |= file_type((r.format.name, r.nbytes) for r in rows if len(r.shape) > 1)
        sources = [p.path for p in file.parts] + [name for adapter, _ in loaded for name in adapter.files]
        writer = gguf.Writer(target, metadata, rows, overwrite=overwrite, sources=sources)
        found, done, total = [], 0, sum(t.nbytes for t in file.tensors.values())
        with writer:
            for name, tensor in file.tensors.items():
                if progress:
                    progress(done, total, name)
                if name in pairs:
                    sums = _Sums()
                    made = _rows(tensor, pairs[name], _scale(file, name), formats[name], threads, sums, who[name])
                    writer.write(name, made)
                    found.append(sums.result(name, tensor.format, formats[name]))
                else:
                    writer.write(name, checked(tensor))
                done += tensor.nbytes
            if file.changed():
                raise GGUFError(f"{shown(file.path)}: the file was changed while it was read; nothing was written")
        if progress:
            progress(total, total, "")
        return Report(writer.paths, tuple(found))


def _scale(file: GGUFFile, name: str) -> float:
    """What the model multiplies the products of this weight by: 1 but for NVFP4 with its second-level scales."""
    tensor = file.tensors.get(name.removesuffix("weight") + "scale")
    if tensor is None:
        return 1.0
    found = float(floats(np.frombuffer(tensor.read(0, tensor.nbytes), np.uint8)[None], tensor.format).reshape(-1)[0])
    if not np.isfinite(found) or found == 0.0:
        raise ModelError(f"tensor {shown(tensor.name)}: {found}; nothing can be merged into a weight with this scale")
    return found


def _rows(
    tensor: Tensor, pair: Pair, scale: float, target: Format, threads: int | None, sums: _Sums, who: str
) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of the sum in the target format, some at a time. `who`: the adapters, for errors."""
    count, columns = pair.shape
    size, step = tensor.format.row_bytes(columns), max(1, STEP // columns)
    for first in range(0, count, step):
        n = min(step, count - first)
        old = floats(np.frombuffer(tensor.read(first * size, n * size), np.uint8).reshape(n, size), tensor.format)
        with np.errstate(over="ignore", invalid="ignore"):
            change = pair.b[first : first + n] @ pair.a
            new = old + (change if scale == 1.0 else change / np.float32(scale))
        try:
            data = encode.quantize(new, target, None, threads, range(first, first + n))
        except FormatError as error:
            sound = np.isfinite(old).all()
            why = f"; that is the sum with {who}: take a smaller scale or a larger type" if sound else ""
            raise ModelError(f"tensor {shown(tensor.name)}, rows from {first} on: {error}{why}") from None
        some = slice(-first % SAMPLE, None, SAMPLE)
        sums.add(old[some], new[some], floats(np.ascontiguousarray(data[some]), target))
        yield data


class _Sums:
    """Sums of squares over the rows of a sample."""

    def __init__(self) -> None:
        self.weight = self.change = self.lost = 0.0

    def add(self, old: Any, new: Any, got: Any) -> None:
        if len(old):
            wanted = new.astype(np.float64)
            self.weight += float(np.square(old, dtype=np.float64).sum())
            self.change += float(np.square(wanted - old).sum())
            self.lost += float(np.square(got - wanted).sum())

    def result(self, name: str, source: Format, target: Format) -> Merged:
        def share(a: float, b: float) -> float:
            return float(np.sqrt(a / b)) if b else 0.0

        return Merged(name, source.name, target.name, share(self.change, self.weight), share(self.lost, self.change))


def notes(report: Report) -> list[str]:
    """What a person should know of a merge: what was rounded, and how much of the adapters that left."""
    out = [f"{', '.join(map(shown, map(os.fsdecode, report.paths)))}: {len(report.merged)} weights changed"]
    again = [m for m in report.merged if m.source not in FLOATS and m.target not in FLOATS]
    if again:
        worst = max(again, key=lambda m: m.rounding)
        out.append(
            f"{len(again)} of them were quantized and are rounded again; what that loses is up to {worst.rounding:.0%} "
            f"of what the adapter adds ({shown(worst.name, 80)}). Without that loss: `edgeq run --lora`, or --type f16"
        )
    return out
