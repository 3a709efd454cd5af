"""Importances for the tensors of a plan, and what a file says of the importance matrix that it was made with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgeq.errors import UsageError, shown
from edgeq.gguf import Value
from edgeq.quantize.plan import FLOATS, Choice
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


def weighed(c: Choice) -> bool:
    """Whether importances change what becomes of this tensor."""
    return c.changes and len(c.shape) > 1 and c.target.name not in FLOATS


def find(plan: Iterable[Choice], importance: Importances | None, model: str) -> dict[str, F32 | None]:
    """Of every tensor by its name: float32 [matrices, columns], or None. UsageError for those of another model, and
    where they change nothing: a file says that it was made with importances only if it was."""
    plan = tuple(plan)
    out: dict[str, F32 | None] = {c.name: None for c in plan}
    if importance is None:
        return out
    rounded = [c for c in plan if weighed(c)]
    if not rounded:
        raise UsageError(
            "importance matrix: no tensor is quantized, so importances change nothing; leave the matrix out, or take a "
            "mix, as Q4_K_M"
        )
    for c in plan:
        if c.changes and len(c.shape) > 1:
            matrices, n = matrices_of(c.shape), c.shape[-1]
            found = importance.importance(c.name, matrices, n)
            out[c.name] = None if found is None else found.reshape(matrices, n)
    if all(out[c.name] is None for c in rounded):
        if any("blk." in c.name for c in rounded):
            raise UsageError(
                f"importance matrix: has no entry for any tensor of {shown(model)} that is quantized; it belongs to "
                "another model"
            )
        raise UsageError(
            f"importance matrix: has no entry for {shown(rounded[0].name)}, and nothing else that is quantized; leave "
            "the matrix out"
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
