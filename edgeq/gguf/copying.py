"""Whole files at once: `write` from tensors at hand, `copy` from a GGUF file to another, split or joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgeq.errors import GGUFError, UsageError, shown
from edgeq.gguf.metadata import Value
from edgeq.gguf.oddities import oddities
from edgeq.gguf.reader import GGUFFile, open
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.gguf.writer import Writer, tensor_info
from edgeq.quants import Format

if TYPE_CHECKING:
    from edgeq.gguf.reader import StrPath


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
        whole = len(g.parts) == 1 and max_tensors is None and max_bytes is None
        first = g.parts[0]
        pad_end = not whole or first.size > first.header.data_end
        _through(g, _writer(g, target, overwrite, max_tensors=max_tensors, max_bytes=max_bytes, pad_end=pad_end))
        return [f"{o.where}: {o.text}" for o in oddities(first) if o.breaks_copy] if whole else []


def split_model(
    source: StrPath,
    prefix: StrPath,
    *,
    max_tensors: int | None = None,
    max_bytes: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> tuple[str, ...]:
    """Writes a model as PREFIX-00001-of-…; returns the paths written, with `dry_run` those that would be.

    A part has at most `max_tensors` tensors and `max_bytes` bytes of them, but always one tensor. One that is
    split already is split anew. UsageError without a limit or if a target exists, GGUFError for a broken source.
    """
    if max_tensors is None and max_bytes is None:
        raise UsageError("split_model: expected max_tensors or max_bytes")
    with open(source) as g:
        writer = _writer(g, prefix, overwrite, max_tensors=max_tensors, max_bytes=max_bytes)
        if not dry_run:
            _through(g, writer)
        return writer.paths


def merge_model(source: StrPath, target: StrPath, *, overwrite: bool = False) -> int:
    """Joins the parts of the model whose first one is `source` in the file `target`; returns how many they were.

    UsageError if it is not split or `target` exists, GGUFError if a part is missing or broken.
    """
    with open(source) as g:
        if len(g.parts) == 1:
            raise UsageError(f"{shown(g.path)}: is not split; copy the file as it is")
        _through(g, _writer(g, target, overwrite))
        return len(g.parts)


def _metadata(g: GGUFFile) -> dict[str, Value]:
    """What a copy says of itself; how it is split, if it is, the Writer decides."""
    metadata = g.metadata.typed()
    return metadata if len(g.parts) == 1 else {k: v for k, v in metadata.items() if k not in SPLIT_KEYS}


def _writer(g: GGUFFile, target: StrPath, overwrite: bool, **limits: Any) -> Writer:
    """For all the tensors of a model; `limits` are those of Writer."""
    infos = [info for part in g.parts for info in part.header.tensors]
    sources = [part.path for part in g.parts]
    return Writer(target, _metadata(g), infos, version=g.version, overwrite=overwrite, sources=sources, **limits)


def _through(g: GGUFFile, writer: Writer) -> None:
    with writer as w:
        for tensor in g.tensors.values():
            w.write(tensor.name, tensor.pieces())
        if g.changed():
            raise GGUFError(f"{shown(g.path)}: the file was changed while it was read; nothing was written")
