"""Narrowing: what only leads to the wanted rows is done for these rows alone.

Of a prompt's tokens mostly the last one's logits are wanted. Behind the attention of the last layer nothing looks at
other rows, so all row-by-row ops there move behind the op that takes the wanted rows.
"""

from __future__ import annotations

from collections import defaultdict

from edgeq import ops
from edgeq.ops import In, Op, Out
from edgeq.program import Buffer, Program

ROW_BY_ROW = (ops.RmsNorm, ops.Linear, ops.Scale, ops.Glu, ops.Add, ops.Softcap)


def narrow(program: Program) -> Program:
    """The program with rows taken as early as possible. Outputs and caches are the same as before.

    A buffer that nothing uses any more stays in the list: fuse and split, which come next, compact and check it."""
    moved = _movable(program)
    if not moved:
        return program
    start = min(moved)  # what lies before is as it was
    writer = {h: i for i, op in enumerate(program.ops) for h in op.handles("Out")}
    buffers = list(program.buffers)
    done: list[tuple[Op, int]] = list(zip(program.ops[:start], program.layer_of))
    taken: dict[int, int] = {}  # a buffer's wanted rows
    wanted = sorted({h for i in moved for h in program.ops[i].handles("In") if writer.get(h) not in moved})

    def take(layer: int, last: int) -> None:
        """Of what moved ops read, all that ops up to `last` write: early, so that fusions find it there."""
        for handle in wanted:
            if handle not in taken and writer.get(handle, -1) <= last:
                taken[handle] = len(buffers)
                buffers.append(Buffer(f"{buffers[handle].name}_rows", buffers[handle].width, True))
                done.append((ops.TakeRows(In(handle), Out(taken[handle])), layer))

    for index, op in enumerate(program.ops[start:], start):
        layer = program.layer_of[index]
        if isinstance(op, ops.TakeRows) and (writer.get(op.x) in moved or op.x in taken):
            taken[op.out] = taken.get(op.x, op.x)
            continue
        if index in moved:
            take(layer, index)
            (out,) = op.handles("Out")
            buffers[out] = buffers[out].replace(outputs=True)
        narrowed = index in moved or any(program.buffers[h].outputs for h in op.handles("In"))
        changed = {n: In(taken.get(getattr(op, n), getattr(op, n))) for n, kind in op.fields.items() if kind == "In"}
        done.append((op.replace(**changed) if narrowed else op, layer))
    return program.replace(
        ops=tuple(op for op, _ in done), layer_of=tuple(layer for _, layer in done), buffers=tuple(buffers),
        outputs=tuple(taken.get(h, h) if program.buffers[h].outputs else h for h in program.outputs),
    )  # fmt: skip


def _movable(program: Program) -> set[int]:
    """Ops that work row by row, for all tokens, and whose result is read by such ops and by TakeRows alone."""
    readers: defaultdict[int, set[int]] = defaultdict(set)
    for index, op in enumerate(program.ops):
        for handle in op.handles("In"):
            readers[handle].add(index)
    narrow: set[int] = set()
    takes = {index for index, op in enumerate(program.ops) if isinstance(op, ops.TakeRows)}
    for index in reversed(range(len(program.ops))):
        op = program.ops[index]
        if not isinstance(op, ROW_BY_ROW):
            continue
        (out,) = op.handles("Out")
        read = readers[out]
        if not program.buffers[out].outputs and out not in program.outputs and read and read <= narrow | takes:
            narrow.add(index)
    return narrow
