"""A program split over backends: each part runs where its layers live, with its keys and values; hidden states cross.

Owns the order of the parts, what crosses between them, and its count. How a backend keeps its memory is its own affair.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeq import backends
from edgeq.backends.base import Backend, Batch, Cancel, Executable, Options, State
from edgeq.backends.rows import as_array
from edgeq.errors import BackendError, UsageError
from edgeq.passes.fuse import fuse
from edgeq.passes.split import split
from edgeq.program import Program

if TYPE_CHECKING:
    import numpy as np

    from edgeq.weights import Weights


class ChainState(State):
    """One state per part; every part holds the same positions."""

    def __init__(self, program: Program, parts: Sequence[State]) -> None:
        self.program, self.parts = program, list(parts)
        self.sequences, self.context = parts[0].sequences, parts[0].context
        self.rings = tuple(ring for part in parts for ring in part.rings)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    @property
    def layout(self) -> str:
        return " + ".join(part.layout for part in self.parts)

    def copy(self, source: int, target: int, length: int) -> None:
        for part in self.parts:
            part.copy(source, target, length)

    def reusable(self, length: int, wanted: int) -> int:
        return min(part.reusable(length, wanted) for part in self.parts)

    def snapshot(self, sequence: int, length: int) -> bytes:
        pieces = [part.snapshot(sequence, length) for part in self.parts]
        return struct.pack(f"<{len(pieces)}Q", *map(len, pieces)) + b"".join(pieces)

    def restore(self, sequence: int, data: bytes, length: int) -> None:
        n = len(self.parts)
        sizes = struct.unpack_from(f"<{n}Q", data) if len(data) >= 8 * n else ()
        if not sizes or 8 * n + sum(sizes) != len(data):
            raise UsageError(f"snapshot of {len(data)} bytes: not one of a model split in {n} parts")
        at = 8 * n
        for part, size in zip(self.parts, sizes):
            part.restore(sequence, data[at : at + size], length)
            at += size


class ChainExecutable(Executable):
    """Parts in order. `crossed`: bytes of hidden states handed from part to part so far, per boundary."""

    def __init__(self, program: Program, parts: Sequence[Executable]) -> None:
        self.program, self.parts = program, list(parts)
        self.small_batch = min(part.small_batch for part in parts)
        self.crossed = [0] * (len(parts) - 1)

    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> ChainState:
        return ChainState(self.program, [part.new_state(sequences, context, kv_type) for part in self.parts])

    def step(
        self, state: State, batch: Batch, inputs: Sequence[np.ndarray] = (), cancel: Cancel | None = None
    ) -> list[np.ndarray]:
        if not isinstance(state, ChainState):
            raise BackendError("split model: the state belongs to another executable")
        values = list(inputs)
        for index, (part, part_state) in enumerate(zip(self.parts, state.parts)):
            if index:
                self.crossed[index - 1] += sum(v.nbytes for v in values)
            values = [as_array(v) for v in part.step(part_state, batch, values, cancel)]
        return values

    def close(self) -> None:
        for part in self.parts:
            part.close()


def compile_chain(
    program: Program, weights: Weights, options: Options, first: Backend, rest: Sequence[tuple[int, Any]]
) -> ChainExecutable:
    """Layers up to the first start on `first`, then each (start layer, backend or its name) in turn.

    Raises UsageError for starts out of order, BackendError where a backend cannot run its part."""
    known = {first.name: first}  # a backend by name once, so that its parts share threads and memory
    chosen = [first]
    for _, wanted in rest:
        name = wanted if isinstance(wanted, str) else wanted.name
        known.setdefault(name, backends.find(wanted) if isinstance(wanted, str) else wanted)
        chosen.append(known[name])
    compiled = []
    for part, backend in zip(split(program, [start for start, _ in rest]), chosen):
        formats = weights.formats(part)
        for op in {type(op) for op in part.ops}:
            if not backend.supports(op, formats):
                raise BackendError(
                    f"backend {backend.name} does not run {op.__name__} with {', '.join(sorted(formats))}"
                )
        fused = fuse(part, lambda op, b=backend, f=formats: b.supports(op, f))  # type: ignore[misc]
        compiled.append(backend.compile(fused, weights, options))
    return ChainExecutable(program, compiled)
