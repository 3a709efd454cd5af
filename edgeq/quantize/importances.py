"""Importances for the tensors of a plan, and what a file says of the importance matrix that it was made with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgeq.errors import UsageError, shown
from edgeq.gguf import Value
from edgeq.quantize.plan import Choice
from edgeq.quantize.roles import layer_of
from edgeq.quantize.stream import matrices_of

if TYPE_CHECKING:
    from edgeq.quants.bits import F32


class Importances(Protocol):
    """What is asked of an importance matrix; see `edgeq.imatrix`."""

    datasets: Sequence[str]
    chunk_count: int
    entries: Mapping[str, Any]

    def importance(self, name: str, matrices: int, n: int) -> F32 | None: ...

    def unreached(self, name: str) -> int: ...


def find(plan: Iterable[Choice], importance: Importances | None, model: str) -> dict[str, F32 | None]:
    """Of every tensor by its name: float32 [matrices, columns], or None. UsageError for those of another model."""
    plan = tuple(plan)
    out: dict[str, F32 | None] = {c.name: None for c in plan}
    if importance is None:
        return out
    for c in plan:
        if c.changes and len(c.shape) > 1:
            matrices, n = matrices_of(c.shape), c.shape[-1]
            found = importance.importance(c.name, matrices, n)
            out[c.name] = None if found is None else found.reshape(matrices, n)
    if not any(w is not None for w in out.values()) and any(c.changes and "blk." in c.name for c in plan):
        raise UsageError(
            f"importance matrix: has no entry for any tensor of {shown(model)}; it belongs to another model"
        )
    layers = 1 + max((layer_of(c.name) for c in plan), default=-1)
    beyond = next((name for name in importance.entries if layers and layer_of(name) >= layers), None)
    if beyond is not None:
        raise UsageError(
            f"importance matrix: has an entry {shown(beyond)}, {shown(model)} has {layers} layers; it belongs to "
            "another model"
        )
    return out


def notes(plan: Iterable[Choice], importance: Importances | None) -> list[str]:
    """What is odd about them, and no error: entries of tensors that are not there, experts without importances."""
    if importance is None:
        return []
    known = {c.name: c for c in plan}
    out = []
    if gone := [name for name in importance.entries if name not in known]:
        out.append(f"importance matrix: the model lacks the tensors of {len(gone)} entries, from {shown(gone[0])} on")
    for name in importance.entries:
        if name in known and known[name].changes and (none := importance.unreached(name)):
            n = matrices_of(known[name].shape)
            out.append(f"importance matrix, {shown(name)}: nothing on {none} of {n} experts: their columns count alike")
    return out


def metadata(importance: Importances, file: str) -> dict[str, Value]:
    """The keys that llama.cpp writes; file: where the matrix was read from."""
    out = {"quantize.imatrix.file": Value("string", os.path.basename(file))}
    if importance.datasets:
        out["quantize.imatrix.dataset"] = Value("string", os.path.basename(importance.datasets[0]))
    out["quantize.imatrix.entries_count"] = Value("u32", len(importance.entries))
    if importance.chunk_count > 0:
        out["quantize.imatrix.chunks_count"] = Value("u32", importance.chunk_count)
    return out
