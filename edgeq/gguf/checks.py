"""verify: every check there is on a GGUF file, the floating point fields of all its tensors included."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeq.errors import EdgeqError, shown
from edgeq.gguf.header import TensorInfo
from edgeq.gguf.oddities import oddities
from edgeq.gguf.part import Part
from edgeq.gguf.reader import GGUFFile, open
from edgeq.quants import scale_fields

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

_CHUNK = 1 << 20  # bytes of tensor data looked at at once


class Finding(NamedTuple):
    """`severity` is "error" (unfit for use) or "warning" (odd, harmless); `where` names the place."""

    severity: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.text}"


def verify(path: StrPath) -> list[Finding]:
    """Reads the whole file and returns all that is wrong with it; an empty list for a sound one.

    A container that cannot be opened is one finding. A tensor with NaN or infinite scales (or weights, where
    they are floats) is one finding, which names the first block. Memory is bounded, time is that of reading.
    """
    try:
        g = open(path)
    except EdgeqError as e:
        return [Finding("error", "file", str(e))]
    with g:
        found = _strings(g)
        for part in g.parts:
            try:
                found += [Finding("warning", o.where, o.text) for o in oddities(part)]
                for info in part.header.tensors:
                    found += _weights(part, info)
            except EdgeqError as e:
                found.append(Finding("error", "file", str(e)))
        if g.changed():
            found.append(Finding("error", "file", "the file was changed while it was read; verify it again"))
        return found


def _strings(g: GGUFFile) -> list[Finding]:
    """Strings that are not UTF-8. They load, but cannot be shown or written elsewhere as they are."""
    found = []
    for key in g.metadata:
        if g.metadata.type(key) == "string":
            try:
                g.metadata.raw(key).decode("utf-8")
            except UnicodeDecodeError as e:
                found.append(Finding("warning", f"key {shown(key)}", f"not UTF-8 (byte {e.start} of the string)"))
    return found


def _weights(part: Part, info: TensorInfo) -> list[Finding]:
    fields = scale_fields(info.format)
    if not fields:
        return []
    import numpy as np

    from edgeq import quants

    block = info.format.nbytes
    step = max(1, _CHUNK // block) * block
    first = kind = None
    count = 0
    for at in range(0, info.nbytes, step):
        raw = np.frombuffer(part.read(info.offset + at, min(step, info.nbytes - at)), np.uint8)
        bad = ~np.isfinite(quants.scales(raw, info.format))
        if bad.any():
            blocks = np.flatnonzero(bad.any(axis=1))
            count += len(blocks)
            if first is None:
                first = at // block + int(blocks[0])
                kind = fields[int(np.argmax(bad[blocks[0]]))]
    if first is None or kind is None:
        return []
    return [Finding("error", f"tensor {shown(info.name)}", _text(info, first, count, kind))]


def _text(info: TensorInfo, first: int, count: int, field: tuple[str, int]) -> str:
    blocks = info.nbytes // info.format.nbytes
    if info.format.block == 1:
        return f"{count} of {blocks} weights are NaN or infinite; the first is number {first}"
    per_row = (info.shape[-1] if info.shape else 1) // info.format.block
    return (
        f"{count} of {blocks} {info.format.name} blocks have a scale that is NaN or infinite; "
        f"the first is block {first} (row {first // per_row}, block {first % per_row} in it, "
        f"{field[0]} at byte {field[1]} of the block)"
    )
