"""Fusion: replaces runs of plain ops by the fused op that equals them, where the backend supports it.

A fused op stands where its last part stood. A part may be taken only if nothing else reads what it wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edgeq import ops
from edgeq.ops import NONE, In, Op
from edgeq.program import Program, validate


def fuse(program: Program, supports: Callable[[type[Op]], bool]) -> Program:
    """The program with every fusion that `supports` allows. Outputs and caches are the same as before."""
    graph = _Graph(program)
    for kind, find in ((ops.Qkv, _qkv), (ops.GateUp, _gate_up), (ops.LinearAdd, _linear_add), (ops.NormAdd, _norm_add)):
        if supports(kind):
            for index in range(len(graph.ops)):
                find(graph, index)
    kept = [(op, layer) for op, layer in zip(graph.ops, program.layer_of) if op is not None]
    fused = compact(program.replace(ops=tuple(op for op, _ in kept), layer_of=tuple(layer for _, layer in kept)))
    validate(fused)
    return fused


def compact(program: Program) -> Program:
    """The program without buffers and tensors that nothing refers to, handles renumbered."""
    used = {kind: sorted({h for op in program.ops for k in kinds for h in op.handles(k)} | extra)
            for kind, kinds, extra in (("B", ("In", "Out"), {*program.inputs, *program.outputs}),
                                       ("W", ("Weight",), set()), ("C", ("Cache",), set()))}  # fmt: skip
    to = {kind: {old: new for new, old in enumerate(handles)} for kind, handles in used.items()}
    group = {"In": "B", "Out": "B", "Weight": "W", "Cache": "C"}

    def renumber(op: Op) -> Op:
        changed = {n: to[group[kind]].get(getattr(op, n), NONE) for n, kind in op.fields.items() if kind in group}
        return op.replace(**changed)

    return program.replace(
        ops=tuple(renumber(op) for op in program.ops),
        buffers=tuple(program.buffers[h] for h in used["B"]),
        tensors=tuple(program.tensors[h] for h in used["W"]),
        caches=tuple(program.caches[h] for h in used["C"]),
        inputs=tuple(to["B"][h] for h in program.inputs),
        outputs=tuple(to["B"][h] for h in program.outputs),
    )


class _Graph:
    """Who writes and who reads a buffer; ops that a fusion took are None."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ops: list[Op | None] = list(program.ops)
        self.writer = {h: i for i, op in enumerate(program.ops) for h in op.handles("Out")}
        self.reads = Counter(h for op in program.ops for h in op.handles("In"))
        self.reads.update(program.outputs)

    def sole(self, handle: int, kind: type[Op]) -> tuple[int, Op] | None:
        """The op of this kind that wrote the buffer, if this is its only reader and no fusion has taken it."""
        index = self.writer.get(handle)
        op = self.ops[index] if index is not None else None
        return (index, op) if index is not None and type(op) is kind and self.reads[handle] == 1 else None

    def take(self, *indices: int) -> None:
        for i in indices:
            self.ops[i] = None


def _qkv(g: _Graph, index: int) -> None:
    write = g.ops[index]
    if not isinstance(write, ops.KvWrite):
        return
    attend = next((op for op in g.ops[index:] if isinstance(op, ops.Attend) and op.cache == write.cache), None)
    if attend is None:
        return
    q, k, v = _head(g, attend.q), _head(g, write.k), g.sole(write.v, ops.Linear)
    if q is None or k is None or v is None:
        return
    (q_ops, q_lin, q_norm, q_rope), (k_ops, k_lin, k_norm, k_rope) = q, k
    v_lin = v[1]
    assert isinstance(v_lin, ops.Linear)
    same = q_lin.x == k_lin.x == v_lin.x and q_rope.table == k_rope.table and q_rope.style == k_rope.style
    eps = {norm.eps for norm in (q_norm, k_norm) if norm}
    if not same or len(eps) > 1:
        return
    g.take(*q_ops, *k_ops, v[0])
    g.ops[index] = ops.Qkv(
        q_lin.x, q_rope.table, q_lin.weight, q_lin.bias, k_lin.weight, k_lin.bias, v_lin.weight, v_lin.bias,
        q_norm.weight if q_norm else ops.Weight(NONE), k_norm.weight if k_norm else ops.Weight(NONE),
        q_rope.out, write.cache, attend.heads, q_rope.head_dim, q_rope.style, *(eps or {0.0}),
    )  # fmt: skip


def _head(g: _Graph, handle: int) -> tuple[list[int], ops.Linear, ops.RmsNorm | None, ops.Rope] | None:
    """Linear, an optional norm of each head, rope: how queries and keys are made."""
    turned = g.sole(handle, ops.Rope)
    if turned is None:
        return None
    rope = turned[1]
    assert isinstance(rope, ops.Rope)
    normed = g.sole(rope.x, ops.RmsNorm)
    norm = normed[1] if normed else None
    assert norm is None or isinstance(norm, ops.RmsNorm)
    if norm and norm.width != rope.head_dim:
        return None
    made = g.sole(norm.x if norm else rope.x, ops.Linear)
    if made is None:
        return None
    linear = made[1]
    assert isinstance(linear, ops.Linear)
    return [turned[0], made[0], *([normed[0]] if normed else [])], linear, norm, rope


def _gate_up(g: _Graph, index: int) -> None:
    glu = g.ops[index]
    if not isinstance(glu, ops.Glu):
        return
    gate, up = g.sole(glu.gate, ops.Linear), g.sole(glu.up, ops.Linear)
    if gate is None or up is None:
        return
    a, b = gate[1], up[1]
    assert isinstance(a, ops.Linear) and isinstance(b, ops.Linear)
    if a.x == b.x and a.bias == b.bias == NONE:
        g.take(gate[0], up[0])
        g.ops[index] = ops.GateUp(a.x, a.weight, b.weight, glu.out, glu.act)


def _linear_add(g: _Graph, index: int) -> None:
    add = g.ops[index]
    if not isinstance(add, ops.Add):
        return
    for mine, other in ((add.b, add.a), (add.a, add.b)):
        found = g.sole(mine, ops.Linear)
        if found and g.writer.get(other, -1) < found[0]:
            linear = found[1]
            assert isinstance(linear, ops.Linear)
            g.take(found[0])
            g.ops[index] = ops.LinearAdd(linear.x, linear.weight, linear.bias, In(other), add.out)
            return


def _norm_add(g: _Graph, index: int) -> None:
    add = g.ops[index]
    if not isinstance(add, ops.Add):
        return
    for mine, other in ((add.a, add.b), (add.b, add.a)):
        found = g.sole(mine, ops.RmsNorm)
        if found is None:
            continue
        norm = found[1]
        assert isinstance(norm, ops.RmsNorm)
        if norm.width == g.program.buffers[norm.x].width:
            g.take(found[0])
            g.ops[index] = ops.NormAdd(norm.x, norm.weight, In(other), add.out, norm.eps)
            return
