"""A backend as a third party would write it: a device with memory of its own, played by the reference backend.

Weights are copied into buffers of the device when a program is compiled; what a step is given is copied in, what it
makes is copied out, and both are counted in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeq.backends.base import Batch, Cancel, Executable, Options, State
from edgeq.backends.reference import ReferenceBackend
from edgeq.ops import Op
from edgeq.program import Program


@dataclass
class Traffic:
    """Bytes: weights uploaded once; per step, what went up and what came down."""

    weights: int = 0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)


class FarTensor:
    """A tensor of the file, copied: nothing here points into the file."""

    def __init__(self, tensor: Any) -> None:
        self.name, self.shape, self.format = tensor.name, tensor.shape, tensor.format
        self.data = np.array(tensor.data, copy=True)


class FarExecutable(Executable):
    def __init__(self, inner: Executable, traffic: Traffic) -> None:
        self.program, self.traffic, self._inner = inner.program, traffic, inner

    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> State:
        return self._inner.new_state(sequences, context, kv_type)

    def step(
        self, state: State, batch: Batch, inputs: Sequence[np.ndarray] = (), cancel: Cancel | None = None
    ) -> list[np.ndarray]:
        given = [np.array(x, np.float32, copy=True) for x in inputs]
        words = 4 * sum(len(c) for c in (batch.tokens, batch.positions, batch.sequences, batch.outputs))
        made = self._inner.step(state, batch, given, cancel)
        self.traffic.up.append(words + sum(x.nbytes for x in given))
        self.traffic.down.append(sum(x.nbytes for x in made))
        return [x.copy() for x in made]

    def close(self) -> None:
        self._inner.close()


class FarMemoryBackend:
    name = "far-memory"

    def __init__(self) -> None:
        self._device = ReferenceBackend(np.float32)

    def supports(self, op: type[Op], formats: frozenset[str]) -> bool:
        return not op.parts and self._device.supports(op, formats)  # plain ops only

    def compile(self, program: Program, weights: Any, options: Options) -> FarExecutable:
        memory = {ref.name: FarTensor(weights[ref.name]) for ref in program.tensors if ref.values is None}
        traffic = Traffic(weights=sum(t.data.nbytes for t in memory.values()))
        return FarExecutable(self._device.compile(program, memory, options), traffic)
