"""Splits a program at layer boundaries, so that each part can be compiled by another backend.

What crosses a boundary becomes an output of one part and an input of the next; caches stay with their layers. Ops that
read no buffer (rotary tables, made from positions alone) are repeated in every part that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.errors import UsageError
from edgeq.ops import Embed, Op
from edgeq.passes.fuse import compact
from edgeq.program import Program, validate


def split(program: Program, starts: Sequence[int]) -> list[Program]:
    """Parts that begin at the given layers, in order; the first part also embeds, the last also has the head.

    `starts` must rise strictly within 1 to layers-1. Raises UsageError naming the start that does not."""
    for previous, start in zip((0, *starts), starts):
        if not previous < start < program.layers:
            raise UsageError(f"split at layer {start}: expected more than {previous} and less than {program.layers}")
    bounds = [*starts, program.layers + 1]
    parts, low, carried = [], -1, tuple(program.inputs)
    for high in bounds:
        part, carried = _part(program, low, high, carried, last=high == bounds[-1])
        parts.append(part)
        low = high
    return parts


def _part(
    program: Program, low: int, high: int, inputs: tuple[int, ...], last: bool
) -> tuple[Program, tuple[int, ...]]:
    mine = [(op, layer) for op, layer in zip(program.ops, program.layer_of) if low <= layer < high]
    wanted = {h for op, _ in mine for h in op.handles("In")}
    if low > -1:
        mine = [(op, -1) for op in program.ops if _repeatable(op) and wanted & set(op.handles("Out"))] + mine
    written = {h for op, _ in mine for h in op.handles("Out")}
    inputs = tuple(h for h in inputs if h in wanted and h not in written)
    later = {h for op, layer in zip(program.ops, program.layer_of) if layer >= high and not _repeatable(op)
             for h in op.handles("In")}  # fmt: skip
    repeated = {h for op in program.ops if _repeatable(op) for h in op.handles("Out")}
    outputs = program.outputs if last else tuple(sorted((later & (written | set(inputs))) - repeated))
    part = compact(
        program.replace(
            ops=tuple(op for op, _ in mine), layer_of=tuple(layer for _, layer in mine), inputs=inputs, outputs=outputs
        )
    )  # fmt: skip
    validate(part)
    return part, outputs


def _repeatable(op: Op) -> bool:
    """Made from the step's positions alone, and small: cheaper to make again than to carry over."""
    return not op.handles("In") and not isinstance(op, Embed) and bool(op.handles("Out"))
