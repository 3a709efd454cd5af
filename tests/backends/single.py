"""Programs of a single op, run by two backends on the same random buffers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.backends.base import Batch, Options
from edgeq.backends.native import NativeBackend
from edgeq.backends.reference import ReferenceBackend
from edgeq.program import Builder, Program, validate
from tests.blocks import MemoryWeights

_POOLS: dict[int, NativeBackend] = {}

Steps = list[tuple[Batch, list[np.ndarray]]]
# Runs the steps of a program somewhere else than in this process; outputs of the last.
Runner = Callable[[Program, MemoryWeights, Options, Steps, str, int], list[np.ndarray]]


def native(threads: int) -> NativeBackend:
    return _POOLS.setdefault(threads, NativeBackend())


def program(build: Callable[[Builder], tuple[list[int], list[int]]], layers: int = 1) -> Program:
    """`build` adds ops and gives the handles of inputs and outputs."""

    b = Builder()
    b.layer = 0
    inputs, outputs = build(b)
    b._ops, ops = [], tuple(b._ops)  # finish would refuse a program that reads its inputs
    shell = Program(ops, (0,) * len(ops), tuple(b._buffers), tuple(b._tensors), tuple(b._caches), tuple(inputs),
                    tuple(outputs), layers)  # fmt: skip
    made = shell.replace()
    validate(made)
    return made


def run(
    made: Program, weights: MemoryWeights, inputs: list[np.ndarray], batch: Batch, *,
    isa: str | Runner | None = None, threads: int = 2, kv_type: str = "F32", context: int = 256,
    before: Steps | None = None, reproducible: bool = False, dtype: type = np.float64,
) -> list[np.ndarray]:  # fmt: skip
    """Outputs of the program on the native variant `isa`, by a runner, or on the reference for None.

    `before`: steps done first."""
    forced = isa if isinstance(isa, str) else None
    options = Options(threads=threads, chunk=128, isa=forced, reproducible=reproducible)
    if callable(isa):
        return isa(made, weights, options, [*(before or []), (batch, inputs)], kv_type, context)
    backend = ReferenceBackend(dtype) if isa is None else native(threads)
    executable = backend.compile(made, weights, options)
    state = executable.new_state(2, context, kv_type)
    for earlier, values in before or []:
        executable.step(state, earlier, values)
    out = executable.step(state, batch, inputs)
    executable.close()
    return out


def near(found: np.ndarray, wanted: np.ndarray, share: float) -> None:
    """RMS error at most `share` of the RMS of what is wanted, no entry off by more than 50 times that."""
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    scale = np.sqrt(np.mean(np.square(wanted, dtype=np.float64))) + 1e-30
    error = np.abs(found.astype(np.float64) - wanted)
    assert np.sqrt(np.mean(error**2)) <= share * scale, (np.sqrt(np.mean(error**2)) / scale, share)
    assert error.max() <= 50 * share * scale
