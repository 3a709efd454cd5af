"""Whole files at once: `write` from tensors at hand, `copy` from a GGUF file to another, split or joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgeq.gguf.oddities import oddities
from edgeq.gguf.part import Part
from edgeq.gguf.reader import Tensor, open
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.gguf.writer import Writer, tensor_info
from edgeq.quants import Format

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath

_CHUNK = 8 << 20


def write(
    path: StrPath,
    metadata: Mapping[str, Any],
    tensors: Iterable[tuple[str, Iterable[int], str | Format, Any]] = (),
    **options: Any,
) -> tuple[str, ...]:
    """Writes a GGUF file from (name, row-major shape, format, data) tuples; returns the paths written.

    The options are those of Writer.
    """
    rows = list(tensors)
    infos = [tensor_info(name, shape, fmt) for name, shape, fmt, _ in rows]
    with Writer(path, metadata, infos, **options) as w:
        for name, _, _, data in rows:
            w.write(name, data)
    return w.paths


def copy(
    source: StrPath,
    target: StrPath,
    *,
    overwrite: bool = False,
    max_tensors: int | None = None,
    max_bytes: int | None = None,
) -> list[str]:
    """Copies a model; joins the parts of a split one, or splits it if a limit is given.

    Returns why the copy of a single file is not identical to the source byte for byte; an empty list for
    every file in canonical layout. Raises GGUFError for a source that is broken, UsageError if target exists.
    """
    with open(source) as g:
        metadata = g.metadata.typed()
        if len(g.parts) > 1:
            metadata = {k: v for k, v in metadata.items() if k not in SPLIT_KEYS}
        whole = len(g.parts) == 1 and max_tensors is None and max_bytes is None
        first = g.parts[0]
        with Writer(
            target,
            metadata,
            [info for part in g.parts for info in part.header.tensors],
            version=g.version,
            overwrite=overwrite,
            sources=[part.path for part in g.parts],
            max_tensors=max_tensors,
            max_bytes=max_bytes,
            pad_end=not whole or first.size > first.header.data_end,
        ) as w:
            for tensor in g.tensors.values():
                w.write(tensor.name, _read(g.parts[tensor.part], tensor))
        return [f"{o.where}: {o.text}" for o in oddities(first) if o.breaks_copy] if whole else []


def _read(part: Part, tensor: Tensor) -> Iterator[bytes]:
    for at in range(0, tensor.nbytes, _CHUNK):
        yield part.read(tensor.offset + at, min(_CHUNK, tensor.nbytes - at))
