"""Single tensors out of a model file: their bytes as they are, or their numbers as a NumPy file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeq.errors import GGUFError, UsageError, shown
from edgeq.gguf.partfile import PartFile, check_target
from edgeq.gguf.reader import GGUFFile, Tensor

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

_PIECE = 1 << 19  # weights at once: a multiple of every format's block


def extract(g: GGUFFile, name: str, target: StrPath, *, numbers: bool = False, overwrite: bool = False) -> int:
    """Writes tensor `name` to `target`, at once or not at all; returns the file's size in bytes.

    The file holds the tensor's bytes, or with `numbers` an .npy array of its shape, row-major: float32, for the
    formats F64, I8, I16, I32 and I64 their own type. UsageError if there is no such tensor or `target` exists.
    """
    if name not in g.tensors:
        raise UsageError(f"{shown(g.path)}: no tensor {shown(name)}")
    tensor = g.tensors[name]
    path = os.fsdecode(target)
    sources = tuple(part.path for part in g.parts)
    check_target(path, overwrite, sources)
    file = PartFile(path, 0)
    try:
        for piece in npy(tensor) if numbers else tensor.pieces():
            file.write(piece)
        if g.changed():
            raise GGUFError(f"{shown(g.path)}: the file was changed while it was read; extract again")
        file.finish()
        check_target(path, overwrite, sources)
        file.commit()
    finally:
        file.discard()
    return file.written


def npy(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of an .npy file of the tensor's numbers, in bounded pieces."""
    import numpy as np

    from edgeq.quants import dequantize

    block, nbytes = tensor.format.block, tensor.format.nbytes
    step = _PIECE // block * nbytes
    for at in range(0, tensor.nbytes, step):
        raw = np.frombuffer(tensor.read(at, min(step, tensor.nbytes - at)), np.uint8)
        values = dequantize(raw, tensor.format)
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        if not at:
            head = io.BytesIO()
            about = {"descr": little.dtype.str, "fortran_order": False, "shape": tensor.shape}
            np.lib.format.write_array_header_1_0(head, about)
            yield head.getvalue()
        yield little.tobytes()
