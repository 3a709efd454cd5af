"""Tapping: a program that sums up what its linears read, and does nothing else.

Fusion comes after it: no fused op takes away the input of a linear, so a tapped program runs as fast as any.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeq import ops
from edgeq.ops import In, Op, Out
from edgeq.passes.fuse import compact
from edgeq.program import Buffer, Program, validate


def tap(program: Program, wanted: Callable[[str], bool]) -> tuple[Program, dict[str, int]]:
    """The program whose outputs are the moments of what linears read, by whose weights `wanted` is asked; and which
    of the outputs belongs to each of these weights.

    Weights that read one buffer share an output. Behind the last of them nothing is computed, no logits either."""
    buffers = list(program.buffers)
    sums: dict[int, int] = {}  # the moments of each input
    done: list[tuple[Op, int]] = []
    inputs: dict[str, int] = {}  # of each weight
    for op, layer in zip(program.ops, program.layer_of):
        if isinstance(op, ops.Linear) and wanted(name := program.tensors[op.weight].name):
            inputs[name] = op.x
            if op.x not in sums:
                x = buffers[op.x]
                sums[op.x] = len(buffers)
                buffers.append(Buffer(f"{x.name}_moments", 2 * x.width, single=True))
                done.append((ops.Moments(In(op.x), Out(sums[op.x])), layer))
        done.append((op, layer))
    place = {x: i for i, x in enumerate(sums)}
    kept = _needed(done)
    tapped = compact(program.replace(
        ops=tuple(op for op, _ in kept), layer_of=tuple(layer for _, layer in kept), buffers=tuple(buffers),
        outputs=tuple(sums.values()),
    ))  # fmt: skip
    validate(tapped)
    return tapped, {name: place[x] for name, x in inputs.items()}


def _needed(done: list[tuple[Op, int]]) -> list[tuple[Op, int]]:
    """Without ops whose results lead to no moments."""
    read: set[int] = set()
    caches: set[int] = set()
    kept = []
    for op, layer in reversed(done):
        stored = isinstance(op, ops.KvWrite) and op.cache in caches
        if stored or isinstance(op, ops.Moments) or read & set(op.handles("Out")):
            read.update(op.handles("In"))
            caches.update(op.handles("Cache"))
            kept.append((op, layer))
    return kept[::-1]
