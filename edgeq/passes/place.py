"""Places buffers in one arena: buffers whose lives do not overlap share memory.

Sizes and offsets count float32 per row; a backend multiplies them by the rows that a step can have.
"""

from __future__ import annotations

from bisect import insort

from edgeq.program import Program

ALIGN = 128  # floats: four groups of rounded activations, which some kernels take together


def place(program: Program) -> tuple[list[int], int]:
    """Offset of each buffer and the arena's size, in floats per row, offsets multiples of `ALIGN`.

    Inputs and outputs live for the whole step."""
    last: dict[int, int] = {h: len(program.ops) for h in (*program.inputs, *program.outputs)}
    first: dict[int, int] = dict.fromkeys(program.inputs, -1)
    for index, op in enumerate(program.ops):
        for h in op.handles("Out"):
            first.setdefault(h, index)
            last[h] = max(last.get(h, index), index)
        for h in op.handles("In"):
            last[h] = max(last.get(h, index), index)
    offsets = [0] * len(program.buffers)
    placed: list[tuple[int, int, int]] = []  # offset, size, buffer, by offset
    size = 0
    for h in sorted(first, key=lambda h: (first[h], -program.buffers[h].width)):
        need = -(-program.buffers[h].width // ALIGN) * ALIGN
        at = 0
        for offset, taken, other in placed:
            apart = last[other] < first[h] or last[h] < first[other]
            if not apart and offset < at + need and at < offset + taken:
                at = offset + taken
        offsets[h] = at
        insort(placed, (at, need, h))
        size = max(size, at + need)
    return offsets, size
