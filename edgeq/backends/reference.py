"""The reference backend: NumPy on dequantized weights. It defines what every op means; every test's oracle.

Slow on purpose. `dtype`, float32 or float64, is the arithmetic; keys and values are kept in it, or rounded to F16 where
that is the KV type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeq import ops, quants
from edgeq.backends.base import (
    Batch,
    Cancel,
    Executable,
    Options,
    State,
    WeightSource,
    check_batch,
    program_vocab,
    ring_size,
)  # fmt: skip
from edgeq.errors import BackendError, Cancelled, UsageError
from edgeq.ops import NONE, Act, Op, RopeStyle
from edgeq.program import Program

Array = np.ndarray


class ReferenceState(State):
    """keys[c], values[c]: [sequences, ring, K, E] for cache c of the program."""

    def __init__(self, program: Program, sequences: int, context: int, kv_type: str, chunk: int, dtype: Any) -> None:
        if kv_type not in ("F16", "F32"):
            raise UsageError(f"reference backend: KV type {kv_type}, expected F16 or F32")
        self.program, self.sequences, self.context = program, sequences, context
        self.rings = tuple(ring_size(c, context, chunk) for c in program.caches)
        kept = np.float16 if kv_type == "F16" else dtype
        shapes = [(sequences, r, c.kv_heads, c.head_dim) for c, r in zip(program.caches, self.rings)]
        self.keys = [np.zeros(s, kept) for s in shapes]
        self.values = [np.zeros(s, kept) for s in shapes]

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.keys, *self.values))

    def copy(self, source: int, target: int, length: int) -> None:
        for kept in (*self.keys, *self.values):
            kept[target, :length] = kept[source, :length]

    def snapshot(self, sequence: int, length: int) -> bytes:
        return b"".join(kept[sequence, :length].tobytes() for kept in (*self.keys, *self.values))

    def restore(self, sequence: int, data: bytes, length: int) -> None:
        expected = sum(kept[sequence, :length].nbytes for kept in (*self.keys, *self.values))
        if len(data) != expected:
            raise UsageError(f"snapshot of {length} positions: {len(data)} bytes, expected {expected}")
        at = 0
        for kept in (*self.keys, *self.values):
            part = kept[sequence, :length]
            part[...] = np.frombuffer(data, part.dtype, part.size, at).reshape(part.shape)
            at += part.nbytes


class Step:
    """One step of a program: buffers by handle, weights by handle, and the batch."""

    def __init__(self, executable: ReferenceExecutable, state: ReferenceState, batch: Batch) -> None:
        self.program, self.state = executable.program, state
        self.dtype: Any = executable.dtype
        self.weight: Callable[[int], Array] = executable.weight
        self.tokens = np.asarray(batch.tokens, np.int64)
        self.positions = np.asarray(batch.positions, np.int64)
        self.sequences = np.asarray(batch.sequences, np.int64)
        self.outputs: Array = np.asarray(batch.outputs, np.int64)
        self.buffers: dict[int, Array] = {}


def embed(s: Step, op: ops.Embed) -> None:
    s.buffers[op.out] = s.weight(op.table)[s.tokens] * s.dtype(op.scale)


def rms_norm(x: Array, weight: Array, width: int, eps: float) -> Array:
    runs = x.reshape(len(x), x.shape[1] // width, width)  # -1 is not known where no rows are wanted
    scale = 1 / np.sqrt(np.mean(runs * runs, axis=-1, keepdims=True) + x.dtype.type(eps))
    out: Array = (runs * scale * weight).reshape(x.shape)
    return out


def linear(s: Step, x: Array, weight: int, bias: int) -> Array:
    y: Array = x @ s.weight(weight).T
    return y if bias == NONE else y + s.weight(bias)


def rope_table(s: Step, op: ops.RopeTable) -> None:
    angles = s.positions[:, None] * s.weight(op.freqs).astype(np.float64)[None, :]
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * op.mscale
    s.buffers[op.out] = table.astype(s.dtype)


def rope(x: Array, table: Array, head_dim: int, style: int) -> Array:
    half = table.shape[1] // 2
    cos, sin = table[:, None, :half], table[:, None, half:]
    out: Array = x.reshape(len(x), -1, head_dim).copy()
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
    if style == RopeStyle.HALVES:
        first, second = slice(0, half), slice(half, 2 * half)
    a, b = out[..., first].copy(), out[..., second].copy()
    out[..., first], out[..., second] = a * cos - b * sin, a * sin + b * cos
    return out.reshape(x.shape)


def kv_write(s: Step, k: Array, v: Array, cache: int) -> None:
    spec, cells = s.program.caches[cache], s.positions % s.state.rings[cache]
    shape = (len(k), spec.kv_heads, spec.head_dim)
    s.state.keys[cache][s.sequences, cells] = k.reshape(shape)
    s.state.values[cache][s.sequences, cells] = v.reshape(shape)


def attend(s: Step, op: ops.Attend) -> None:
    spec, ring = s.program.caches[op.cache], s.state.rings[op.cache]
    group = op.heads // spec.kv_heads
    q = s.buffers[op.q].reshape(-1, spec.kv_heads, group, spec.head_dim)
    out = np.empty_like(q)
    for sequence in np.unique(s.sequences):
        mine = s.sequences == sequence
        p = s.positions[mine]
        first = max(0, p.min() - spec.window + 1) if spec.window else 0
        seen = np.arange(first, p.max() + 1)
        k = s.state.keys[op.cache][sequence, seen % ring].astype(s.dtype)  # [n, K, E]
        v = s.state.values[op.cache][sequence, seen % ring].astype(s.dtype)
        scores = np.einsum("tkge,nke->tkgn", q[mine], k, optimize=True) * s.dtype(op.scale)
        if op.softcap:
            scores = s.dtype(op.softcap) * np.tanh(scores / s.dtype(op.softcap))
        hidden = (seen > p[:, None]) | (spec.window > 0) & (seen <= p[:, None] - spec.window)
        scores[np.broadcast_to(hidden[:, None, None, :], scores.shape)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        out[mine] = np.einsum("tkgn,nke->tkge", weights, v, optimize=True)
    s.buffers[op.out] = out.reshape(len(out), -1)


def glu(gate: Array, up: Array, act: int) -> Array:
    if act == Act.SILU:
        with np.errstate(over="ignore"):  # exp(-x) of a large negative x is inf, and the quotient rightly 0
            silu: Array = gate / (1 + np.exp(-gate)) * up
            return silu
    inner = np.sqrt(2 / np.pi).astype(gate.dtype) * (gate + gate.dtype.type(0.044715) * gate**3)
    gelu: Array = gate.dtype.type(0.5) * gate * (1 + np.tanh(inner)) * up
    return gelu


def qkv(s: Step, op: ops.Qkv) -> None:
    x, table = s.buffers[op.x], s.buffers[op.table]
    q, k, v = linear(s, x, op.wq, op.bq), linear(s, x, op.wk, op.bk), linear(s, x, op.wv, op.bv)
    if op.q_norm != NONE:
        q = rms_norm(q, s.weight(op.q_norm), op.head_dim, op.eps)
    if op.k_norm != NONE:
        k = rms_norm(k, s.weight(op.k_norm), op.head_dim, op.eps)
    s.buffers[op.q] = rope(q, table, op.head_dim, op.style)
    kv_write(s, rope(k, table, op.head_dim, op.style), v, op.cache)


def moments(s: Step, op: ops.Moments) -> None:
    x = s.buffers[op.x].astype(np.float64)
    s.buffers[op.out] = np.concatenate([x.sum(0), (x * x).sum(0)])[None].astype(s.dtype)


def _set(s: Step, out: int, value: Array) -> None:
    s.buffers[out] = value


B = Callable[[Step, Any], None]
RUN: dict[type[Op], B] = {
    ops.Embed: embed,
    ops.RmsNorm: lambda s, op: _set(s, op.out, rms_norm(s.buffers[op.x], s.weight(op.weight), op.width, op.eps)),
    ops.Linear: lambda s, op: _set(s, op.out, linear(s, s.buffers[op.x], op.weight, op.bias)),
    ops.RopeTable: rope_table,
    ops.Rope: lambda s, op: _set(s, op.out, rope(s.buffers[op.x], s.buffers[op.table], op.head_dim, op.style)),
    ops.KvWrite: lambda s, op: kv_write(s, s.buffers[op.k], s.buffers[op.v], op.cache),
    ops.Attend: attend,
    ops.Glu: lambda s, op: _set(s, op.out, glu(s.buffers[op.gate], s.buffers[op.up], op.act)),
    ops.Add: lambda s, op: _set(s, op.out, s.buffers[op.a] + s.buffers[op.b]),
    ops.Scale: lambda s, op: _set(s, op.out, s.buffers[op.x] * s.weight(op.scale)),
    ops.Softcap: lambda s, op: _set(s, op.out, s.dtype(op.cap) * np.tanh(s.buffers[op.x] / s.dtype(op.cap))),
    ops.TakeRows: lambda s, op: _set(s, op.out, s.buffers[op.x][s.outputs]),
    ops.NormAdd: lambda s, op: _set(
        s, op.out, s.buffers[op.residual]
        + rms_norm(s.buffers[op.x], s.weight(op.weight), s.buffers[op.x].shape[1], op.eps)),
    ops.LinearAdd: lambda s, op: _set(
        s, op.out, s.buffers[op.residual] + linear(s, s.buffers[op.x], op.weight, op.bias)),
    ops.GateUp: lambda s, op: _set(
        s, op.out, glu(linear(s, s.buffers[op.x], op.gate, NONE), linear(s, s.buffers[op.x], op.up, NONE), op.act)),
    ops.Qkv: qkv,
    ops.Moments: moments,
}  # fmt: skip


class ReferenceExecutable(Executable):
    """Runs a program op by op. Dequantized weights are kept after first use.

    NumPy rounds a product of matrices by their shapes: the tokens of a small batch run one by one."""

    def __init__(self, program: Program, weights: WeightSource, options: Options, dtype: Any) -> None:
        self.program, self.dtype, self.chunk = program, dtype, options.chunk
        self.small_batch = min(options.chunk, 8)
        self._source = weights
        self._kept: dict[int, Array] = {}
        self._vocab = program_vocab(program)

    def weight(self, handle: int) -> Array:
        """Tensor `handle` of the program, dequantized, in its shape."""
        if handle not in self._kept:
            ref = self.program.tensors[handle]
            if ref.values is not None:
                kept = np.asarray(ref.values, np.float32)
            else:
                tensor = self._source[ref.name]
                kept = quants.dequantize(tensor.data, tensor.format).reshape(ref.shape)
            self._kept[handle] = kept.astype(self.dtype)
        return self._kept[handle]

    def new_state(self, sequences: int, context: int, kv_type: str = "F16") -> ReferenceState:
        return ReferenceState(self.program, sequences, context, kv_type, self.chunk, self.dtype)

    def step(
        self, state: State, batch: Batch, inputs: Sequence[Array] = (), cancel: Cancel | None = None
    ) -> list[Array]:
        if not isinstance(state, ReferenceState):
            raise BackendError("reference backend: the state belongs to another backend")
        check_batch(self.program, state, batch, self.chunk, self._vocab)
        n = len(batch.tokens)
        if not 1 < n <= self.small_batch or any(self.program.buffers[h].single for h in self.program.outputs):
            return self._run(state, batch, inputs, cancel)
        rows = zip(batch.tokens, batch.positions, batch.sequences)
        alone = [self._run(state, Batch([t], [p], [s], [0]), [x[i : i + 1] for x in inputs], cancel)
                 for i, (t, p, s) in enumerate(rows)]  # fmt: skip
        wanted = [batch.outputs if self.program.buffers[h].outputs else range(n) for h in self.program.outputs]
        return [np.concatenate([alone[0][k][:0], *(alone[i][k] for i in chosen)])
                for k, chosen in enumerate(wanted)]  # fmt: skip

    def _run(self, state: ReferenceState, batch: Batch, inputs: Sequence[Array], cancel: Cancel | None) -> list[Array]:
        s = Step(self, state, batch)
        s.buffers.update({h: np.asarray(x, self.dtype) for h, x in zip(self.program.inputs, inputs)})
        for op in self.program.ops:
            if cancel:
                raise Cancelled("the step was cancelled")
            RUN[type(op)](s, op)
        return [s.buffers[h].astype(np.float32) for h in self.program.outputs]

    def buffers(self, state: ReferenceState, batch: Batch, inputs: Sequence[Array] = ()) -> dict[str, Array]:
        """All buffers of a step by name: what tests compare another backend's with."""
        s = Step(self, state, batch)
        s.buffers.update({h: np.asarray(x, self.dtype) for h, x in zip(self.program.inputs, inputs)})
        for op in self.program.ops:
            RUN[type(op)](s, op)
        return {self.program.buffers[h].name: x for h, x in s.buffers.items()}


class ReferenceBackend:
    """NumPy; runs everything that has a definition."""

    name = "reference"

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = dtype

    def supports(self, op: type[Op], formats: frozenset[str]) -> bool:
        return op in RUN

    def compile(self, program: Program, weights: WeightSource, options: Options) -> ReferenceExecutable:
        return ReferenceExecutable(program, weights, options, self.dtype)
