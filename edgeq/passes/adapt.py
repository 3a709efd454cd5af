"""Adapting: low-rank corrections beside the weights of linears, y = W x + B (A x), and of the embedding,
y = E[token] + B A[token].

LoRA: Hu et al. 2021, arXiv 2106.09685.

Two small ops and a sum are put behind each op that has a correction. It comes before fusion: the second linear and the
sum become one op there; fusions that take the corrected linear itself do not match any more. A head that is the
embedding stays as it is, as PEFT has it: the correction is of the rows that tokens take.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeq import ops
from edgeq.errors import ModelError, shown
from edgeq.ops import NONE, In, Op, Out, Weight
from edgeq.program import Buffer, Program, TensorRef, validate

A, B = ".lora_a", ".lora_b"  # behind the name of a weight [N, K]: A [r, K] and B [N, r]; of an embedding [V, D]: A
# [V, r] and B [D, r]


def adapt(program: Program, ranks: Mapping[str, int]) -> Program:
    """The program with corrections of the named weights; `ranks` are their r. Their A and B are tensors called like the
    weight with `A` and `B` behind.

    Where the weight has a second-level scale, the correction is that of the scaled weight. Raises ModelError for a
    weight that no linear reads and no token takes rows of."""
    buffers, tensors = list(program.buffers), list(program.tensors)
    done: list[tuple[Op, int]] = []
    scaled: dict[int, int] = {op.x: i for i, op in enumerate(program.ops) if isinstance(op, ops.Scale)}
    waiting: dict[int, tuple[ops.Linear | ops.Embed, str]] = {}  # by the op that they go behind
    tables = {tensors[op.table].name for op in program.ops if isinstance(op, ops.Embed)}
    found = set()

    def buffer(name: str, width: int, like: int) -> Out:
        buffers.append(Buffer(name, width, buffers[like].outputs))
        return Out(len(buffers) - 1)

    def weight(name: str, *shape: int) -> Weight:
        tensors.append(TensorRef(name, shape))
        return Weight(len(tensors) - 1)

    for index, (op, layer) in enumerate(zip(program.ops, program.layer_of)):
        if isinstance(op, ops.Embed) and (name := tensors[op.table].name) in ranks:
            waiting[index] = op, name
        elif isinstance(op, ops.Linear) and (name := tensors[op.weight].name) in ranks and name not in tables:
            waiting[scaled.get(op.out, index)] = op, name
        if index not in waiting:
            done.append((op, layer))
            continue
        source, name = waiting[index]
        found.add(name)
        (out,) = op.handles("Out")
        whole, stem, rank = buffers[out], buffers[out].name, ranks[name]
        plain = buffer(f"{stem}_base", whole.width, out)
        low = buffer(f"{stem}_lora_a", rank, out)
        high = buffer(f"{stem}_lora_b", whole.width, out)
        if isinstance(source, ops.Embed):
            first: Op = source.replace(table=weight(name + A, tensors[source.table].shape[0], rank), out=low)
        else:
            first = ops.Linear(source.x, weight(name + A, rank, tensors[source.weight].shape[1]), Weight(NONE), low)
        done += [(added, layer) for added in (
            op.replace(out=plain),
            first,
            ops.Linear(In(low), weight(name + B, whole.width, rank), Weight(NONE), high),
            ops.Add(In(plain), In(high), Out(out)),
        )]  # fmt: skip
    if missing := ranks.keys() - found:
        raise ModelError(
            f"tensor {shown(min(missing))}: no linear of the model reads it, nor do tokens take its rows, so no "
            "adapter can change it"
        )
    adapted = program.replace(
        ops=tuple(op for op, _ in done), layer_of=tuple(layer for _, layer in done), buffers=tuple(buffers),
        tensors=tuple(tensors),
    )  # fmt: skip
    validate(adapted)
    return adapted
