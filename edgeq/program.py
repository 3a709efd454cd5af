"""A program: a flat, immutable, printable list of ops over named buffers, made once per model for every backend.

Owns the data and its checks, and the `Builder` that architectures write it with. Knows no format, no backend, no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeq import ops
from edgeq.errors import ModelError
from edgeq.ops import NONE, Cache, In, Op, Out, Weight
from edgeq.record import Record


class Buffer(Record):
    """Activations of a step: float32 [rows, width]; rows is T (tokens), N (wanted outputs) where `outputs`, or 1 where
    `single`."""

    name: str
    width: int
    outputs: bool = False
    single: bool = False

    def rows(self, tokens: int, outputs: int) -> int:
        """Rows in a step of so many tokens and wanted outputs."""
        return 1 if self.single else outputs if self.outputs else tokens


class TensorRef(Record):
    """A tensor that ops read: one of the file, by GGUF name, or a constant with its float32 values. Row-major shape."""

    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...] | None = None


class CacheSpec(Record):
    """Keys and values of a layer: [positions, K, E] each. A window of 0 keeps all positions, else the last `window`."""

    layer: int
    kv_heads: int
    head_dim: int
    window: int


class Program(Record):
    """Ops in order with their layer (-1: before the first, `layers`: after the last), and everything they refer to.

    `inputs` are buffers that the caller fills before a step (none for a whole model: tokens and positions belong to
    every step), `outputs` those it reads after it."""

    ops: tuple[Op, ...]
    layer_of: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    tensors: tuple[TensorRef, ...]
    caches: tuple[CacheSpec, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: int

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The program as text: one op a line, operands by name."""
        rows = [f"# {self.layers} layers, {len(self.ops)} ops, {len(self.buffers)} buffers, {len(self.caches)} caches"]
        for layer, op in zip(self.layer_of, self.ops):
            outs = ", ".join(self.buffers[h].name for h in op.handles("Out")) or "cache"
            args = ", ".join(self._argument(op, name, kind) for name, kind in op.fields.items() if kind != "Out")
            place = f"{layer:3d}" if 0 <= layer < self.layers else "  ·"
            rows.append(f"{place}  {outs} = {op.word}({args})")
        return rows

    def _argument(self, op: Op, name: str, kind: str) -> str:
        value: Any = getattr(op, name)
        if kind in ("int", "float"):
            return f"{name}={value:g}"
        if value == NONE:
            return f"{name}=none"
        if kind == "In":
            return str(self.buffers[value].name)
        if kind == "Weight":
            t = self.tensors[value]
            return f"{t.name}[{'×'.join(map(str, t.shape))}]"
        c = self.caches[value]
        return f"cache[{c.layer}: {c.kv_heads}×{c.head_dim}{f', window {c.window}' if c.window else ''}]"


class Builder:
    """Writes a program op by op. Each method that makes a buffer returns its handle; a name says what it holds."""

    def __init__(self) -> None:
        self._ops: list[Op] = []
        self._layer_of: list[int] = []
        self._buffers: list[Buffer] = []
        self._tensors: dict[TensorRef, int] = {}
        self._caches: list[CacheSpec] = []
        self.layer = -1

    def tensor(self, name: str, *shape: int) -> Weight:
        """A tensor of the file by its GGUF name, with the shape that the architecture expects."""
        return self._ref(TensorRef(name, shape))

    def constant(self, name: str, values: Iterable[float]) -> Weight:
        """A float32 vector that belongs to the program and not to the file."""
        v = tuple(values)
        return self._ref(TensorRef(name, (len(v),), v))

    def buffer(self, name: str, width: int, outputs: bool = False) -> Out:
        self._buffers.append(Buffer(name, width, outputs))
        return Out(len(self._buffers) - 1)

    def cache(self, kv_heads: int, head_dim: int, window: int = 0) -> Cache:
        self._caches.append(CacheSpec(self.layer, kv_heads, head_dim, window))
        return Cache(len(self._caches) - 1)

    def add(self, op: Op) -> None:
        self._ops.append(op)
        self._layer_of.append(self.layer)

    def finish(self, output: int, layers: int) -> Program:
        program = Program(
            tuple(self._ops), tuple(self._layer_of), tuple(self._buffers), tuple(self._tensors), tuple(self._caches),
            (), (output,), layers,
        )  # fmt: skip
        validate(program)
        return program

    def _ref(self, ref: TensorRef) -> Weight:
        return Weight(self._tensors.setdefault(ref, len(self._tensors)))

    # One method per op that architectures use: shapes in, handle out.

    def embed(self, table: Weight, width: int, scale: float = 1.0) -> Out:
        out = self.buffer("inp_embd", width)
        self.add(ops.Embed(table, out, scale))
        return out

    def norm(self, name: str, x: int, weight: Weight, eps: float, width: int | None = None) -> Out:
        out = self.buffer(name, self._buffers[x].width, self._buffers[x].outputs)
        self.add(ops.RmsNorm(In(x), weight, out, width or self._buffers[x].width, eps))
        return out

    def linear(self, name: str, x: int, weight: Weight, rows: int, bias: int = NONE) -> Out:
        out = self.buffer(name, rows, self._buffers[x].outputs)
        self.add(ops.Linear(In(x), weight, Weight(bias), out))
        return out

    def scale(self, name: str, x: int, scale: Weight) -> Out:
        out = self.buffer(name, self._buffers[x].width, self._buffers[x].outputs)
        self.add(ops.Scale(In(x), scale, out))
        return out

    def rope_table(self, name: str, freqs: Iterable[float], mscale: float = 1.0) -> Out:
        f = self.constant(f"{name}.freqs", freqs)
        out = self.buffer(name, 2 * self._shape(f)[0])
        self.add(ops.RopeTable(f, out, mscale))
        return out

    def rope(self, name: str, x: int, table: int, head_dim: int, style: ops.RopeStyle) -> Out:
        out = self.buffer(name, self._buffers[x].width)
        self.add(ops.Rope(In(x), In(table), out, head_dim, int(style)))
        return out

    def kv_write(self, k: int, v: int, cache: Cache) -> None:
        self.add(ops.KvWrite(In(k), In(v), cache))

    def attend(self, name: str, q: int, cache: Cache, heads: int, scale: float, softcap: float = 0.0) -> Out:
        out = self.buffer(name, self._buffers[q].width)
        self.add(ops.Attend(In(q), out, cache, heads, scale, softcap))
        return out

    def glu(self, name: str, gate: int, up: int, act: ops.Act) -> Out:
        out = self.buffer(name, self._buffers[gate].width)
        self.add(ops.Glu(In(gate), In(up), out, int(act)))
        return out

    def sum(self, name: str, a: int, b: int) -> Out:
        out = self.buffer(name, self._buffers[a].width)
        self.add(ops.Add(In(a), In(b), out))
        return out

    def softcap(self, name: str, x: int, cap: float) -> Out:
        out = self.buffer(name, self._buffers[x].width, self._buffers[x].outputs)
        self.add(ops.Softcap(In(x), out, cap))
        return out

    def take_rows(self, name: str, x: int) -> Out:
        out = self.buffer(name, self._buffers[x].width, outputs=True)
        self.add(ops.TakeRows(In(x), out))
        return out

    def _shape(self, weight: Weight) -> tuple[int, ...]:
        return list(self._tensors)[weight].shape


def validate(program: Program) -> None:
    """Raises ModelError if an op refers to what is not there, reads what is not written yet, or a width is off."""
    limits = {"In": len(program.buffers), "Out": len(program.buffers), "Weight": len(program.tensors),
              "Cache": len(program.caches)}  # fmt: skip
    written = set(program.inputs)
    for index, op in enumerate(program.ops):
        where = f"program op {index} ({op.word})"
        for kind, limit in limits.items():
            for handle in op.handles(kind):
                if not 0 <= handle < limit:
                    raise ModelError(f"{where}: {kind} handle {handle}, expected 0 to {limit - 1}")
        for handle in op.handles("In"):
            if handle not in written:
                raise ModelError(f"{where}: buffer {program.buffers[handle].name} is read before anything writes it")
        written.update(op.handles("Out"))
        _check_widths(program, op, where)
    for handle in program.outputs:
        if handle not in written:
            raise ModelError(f"program: output {program.buffers[handle].name} is never written")


def _check_widths(program: Program, op: Op, where: str) -> None:
    """Widths of operands against the shapes in the op's docstring."""

    def width(handle: int) -> int:
        return program.buffers[handle].width

    def shape(handle: int) -> tuple[int, ...]:
        return program.tensors[handle].shape

    def expect(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise ModelError(f"{where}: {what} is {found}, expected {wanted}")

    def matrix(weight: int, x: int, rows: int, bias: int = NONE) -> None:
        expect(f"shape of {program.tensors[weight].name}", shape(weight), (rows, width(x)))
        if bias != NONE:
            expect(f"shape of {program.tensors[bias].name}", shape(bias), (rows,))

    match op:
        case ops.Embed(table, out, _):
            expect("width of the table", shape(table)[-1], width(out))
        case ops.RmsNorm(x, weight, out, run, _):
            expect("norm weight", shape(weight), (run,))
            expect("width", (width(out), width(x) % run), (width(x), 0))
        case ops.Linear(x, weight, bias, out):
            matrix(weight, x, width(out), bias)
        case ops.LinearAdd(x, weight, bias, residual, out):
            matrix(weight, x, width(out), bias)
            expect("width of the residual", width(residual), width(out))
        case ops.RopeTable(freqs, out, _):
            expect("width", width(out), 2 * shape(freqs)[0])
        case ops.Rope(x, table, out, head_dim, _):
            expect("width", (width(out), width(x) % head_dim), (width(x), 0))
            expect("rope width within the head", width(table) <= head_dim, True)
        case ops.KvWrite(k, v, cache):
            c = program.caches[cache]
            expect("width of k and v", (width(k), width(v)), (c.kv_heads * c.head_dim,) * 2)
        case ops.Attend(q, out, cache, heads, _, _):
            c = program.caches[cache]
            expect("width of q", (width(q), width(out)), (heads * c.head_dim,) * 2)
            expect("heads per key/value head", heads % c.kv_heads, 0)
        case ops.Glu(gate, up, out, _):
            expect("width", (width(gate), width(up)), (width(out),) * 2)
        case ops.GateUp(x, gate, up, out, _):
            matrix(gate, x, width(out))
            matrix(up, x, width(out))
        case ops.Add(a, b, out):
            expect("width", (width(a), width(b)), (width(out),) * 2)
        case ops.NormAdd(x, weight, residual, out, _):
            expect("width", (width(x), width(residual), *shape(weight)), (width(out),) * 3)
        case ops.Scale(x, scale, out):
            expect("width and scale", (width(x), shape(scale)), (width(out), (1,)))
        case ops.Softcap(x, out, _) | ops.TakeRows(x, out):
            expect("width", width(x), width(out))
        case ops.Moments(x, out):
            expect("width and rows", (width(out), program.buffers[out].single), (2 * width(x), True))
        case ops.Qkv():
            c = program.caches[op.cache]
            matrix(op.wq, op.x, op.heads * op.head_dim, op.bq)
            matrix(op.wk, op.x, c.kv_heads * c.head_dim, op.bk)
            matrix(op.wv, op.x, c.kv_heads * c.head_dim, op.bv)
            expect("head width", (op.head_dim, width(op.q)), (c.head_dim, op.heads * op.head_dim))
