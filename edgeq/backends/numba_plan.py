"""From a program to phases: which kernel runs over which items, with which words as arguments. Made once per program.

A fused op becomes the phases of its parts. Owns the places of buffers; runs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeq import ops, quants
from edgeq.backends import numba_attend as attention
from edgeq.backends import numba_kernels as kernels
from edgeq.backends import numba_linear as few
from edgeq.backends import numba_panel as many
from edgeq.backends import numba_unpack as unpack
from edgeq.backends.base import WeightSource
from edgeq.backends.numba_compile import address, array_address
from edgeq.errors import BackendError
from edgeq.ops import NONE
from edgeq.passes.place import place
from edgeq.program import Program

# What the items of a phase count: tokens, outputs, or runs of tokens of the step; for linears of tokens,
# and of outputs, rows and one where these are few, vectors of 16 and one where they are many.
TOKENS, OUTPUTS, RUNS, *_LINEAR = np.eye(11, dtype=np.int64)
FEW_ROWS, FEW, MANY_LANES, MANY = (dict(zip((False, True), _LINEAR[i::4])) for i in range(4))
CTX_T, CTX_N = 32, 40
GATES = {int(ops.Act.SILU): kernels.silu_gate, int(ops.Act.GELU): kernels.gelu_gate}


def counts(tokens: int, outputs: int, runs: int, limit: int) -> Any:
    """What the items of a phase count in a step, int64 [11]; linears of up to `limit` rows take them for few."""
    out = [tokens, outputs, runs]
    for n in (tokens, outputs):
        lanes = -(-n // many.LANES) * many.LANES // 16
        out += [n, 1, 0, 0] if n <= limit else [0, 0, lanes, 1]
    return np.array(out, np.int64)


@dataclass
class Phase:
    """`items`: how many of what `counts` gives. `claim`: items taken at a time. `wait`: for all threads, after it."""

    kernel: Callable[..., None]
    args: list[int | float]
    items: Any
    claim: int = 1
    wait: bool = True


@dataclass(frozen=True)
class Matrix:
    """A weight of linears or of an embedding, where the file has it."""

    data: int
    row: int
    name: str
    rows: int
    width: int

    @property
    def floats(self) -> bool:
        return self.name in unpack.FLOATS

    @property
    def kind(self) -> int:
        """Of `floats_of`."""
        return 2 if self.floats else int(self.name in unpack.HALVES)

    @property
    def block(self) -> int:
        return quants.FORMATS[self.name].block


class Plan:
    """Phases of a program, and the words that they refer to. `places`: address of each buffer, set before a step."""

    def __init__(self, program: Program, weights: WeightSource, threads: int) -> None:
        self.program, self.weights, self.threads = program, weights, threads
        offsets, arena = place(program)
        self.widths = [b.width for b in program.buffers]
        self.offsets = [4 * offset for offset in offsets]  # bytes per token
        self.bytes_per_token = 4 * arena
        self.scratch = 256
        self.phases: list[Phase] = []
        self._kept: list[Any] = []
        self._rounded = self._lanes = NONE  # the buffers whose rounded form, and whose form in lanes, are at hand
        self._last: dict[Any, Phase] = {}  # the last linear for few rows, and for many
        k = max((program.buffers[h].width for h in self._matrix_inputs()), default=0)
        temps = [self._temps(op) for op in program.ops]
        first = max((t[0] for t in temps), default=0), max((t[1] for t in temps), default=0)
        # rounded activations (q, scales and sums of 32, of 16), those in lanes, what fused ops need between their parts
        of_32, of_16 = 4 * self._padded(k // 32), 4 * self._padded(k // 16)
        sizes = (2 * k, of_32, of_32, of_16, of_16, 4 * k, 4 * first[0], 4 * first[1])
        self.q, self.scale32, self.sum32, self.scale16, self.sum16, self.lanes, self.temp, self.other = (
            self._extra(n) for n in sizes
        )
        self.places = np.zeros(len(self.offsets) + 1, np.int64)  # the last stays 0: an absent buffer
        for op in program.ops:
            if type(op) not in MAKE:
                raise BackendError(f"numba backend: op {op.word} has no kernel")
            MAKE[type(op)](self, op)
            if self._rounded in op.handles("Out"):
                self._rounded = NONE
            if self._lanes in op.handles("Out"):
                self._lanes = NONE

    @staticmethod
    def room(tokens: int) -> int:
        """Rows that buffers have for a step of so many tokens: whole lanes."""
        return -(-tokens // many.LANES) * many.LANES

    def table(self) -> tuple[Any, Any]:
        """Words of the phases but their kernels, int64 [phases, PHASE], and what their items count, [phases, 11]."""
        rows = []
        for p in self.phases:
            words = self._keep(np.array([self._word(x) for x in p.args], np.int64))
            rows.append([0, array_address(words), 0, p.claim, int(p.wait), 0])
        items = np.array([p.items for p in self.phases]).reshape(-1, len(TOKENS))
        return np.array(rows, np.int64).reshape(-1, kernels.PHASE), items

    @staticmethod
    def _word(x: int | float) -> int:
        return struct.unpack("<q", struct.pack("<d", x))[0] if isinstance(x, float) else int(x)

    @staticmethod
    def _padded(n: int) -> int:
        return -(-n // 16) * 16

    def _keep(self, values: Any) -> Any:
        self._kept.append(values)
        return values

    def _extra(self, size: int) -> int:
        """Handle of a buffer of `size` bytes per token beside those of the program."""
        self.offsets.append(self.bytes_per_token)
        self.bytes_per_token += -(-size // 128) * 128
        return len(self.offsets) - 1

    def _matrix_inputs(self) -> list[int]:
        return [op.x for op in self.program.ops if isinstance(op, ops.Linear | ops.LinearAdd | ops.GateUp | ops.Qkv)]

    def _temps(self, op: ops.Op) -> tuple[int, int]:
        """Floats per token that a fused op keeps between its parts."""
        if isinstance(op, ops.GateUp):
            return self.widths[op.out], 0
        if isinstance(op, ops.Qkv):
            c = self.program.caches[op.cache]
            return c.kv_heads * c.head_dim, c.kv_heads * c.head_dim
        return 0, 0

    def at(self, handle: int) -> int:
        """Where the address of a buffer stands; of a zero where there is none."""
        return array_address(self.places) + 8 * (handle if handle != NONE else len(self.places) - 1)

    def vector(self, handle: int) -> int:
        """Address of a tensor of the program as float32; 0 where it is absent."""
        if handle == NONE:
            return 0
        ref = self.program.tensors[handle]
        if ref.values is not None:
            return array_address(self._keep(np.array(ref.values, np.float32)))
        tensor = self.weights[ref.name]
        if tensor.format.name == "F32":
            return int(tensor.address)
        return array_address(self._keep(quants.dequantize(tensor.data, tensor.format).reshape(-1).astype(np.float32)))

    def matrix(self, handle: int) -> Matrix:
        ref = self.program.tensors[handle]
        if ref.values is not None or len(ref.shape) != 2:
            raise BackendError(f"numba backend: tensor {ref.name} of shape {list(ref.shape)} cannot be a matrix")
        tensor = self.weights[ref.name]
        if tensor.format.name not in unpack.KERNELS:
            raise BackendError(f"numba backend: tensor {ref.name}: format {tensor.format.name} has no kernel")
        rows, width = ref.shape
        return Matrix(int(tensor.address), tensor.format.row_bytes(width), tensor.format.name, rows, width)

    def items_of(self, handle: int) -> tuple[Any, int]:
        """What the rows of a buffer count, and where that count stands in ctx."""
        return (OUTPUTS, CTX_N) if self.program.buffers[handle].outputs else (TOKENS, CTX_T)

    def unpacker(self, m: Matrix) -> tuple[int, int]:
        return address(unpack.KERNELS[m.name]), array_address(self._keep(unpack.table(m.name)))

    def add(self, kernel: Callable[..., None], args: Sequence[int | float], items: Any, claim: int = 1) -> Phase:
        self.phases.append(Phase(kernel, list(args), items, claim))
        return self.phases[-1]

    def linear(self, x: int, weight: int, bias: int, out: int, residual: int = NONE, together: bool = False) -> None:
        """Phases for few rows and for many; in a step those of the other kind have no items. `together`: this does not
        depend on the linear before, which has the same x."""
        m, outputs = self.matrix(weight), self.program.buffers[x].outputs
        halves = m.name in unpack.HALVES
        args = [m.data, m.row, m.width, *self.unpacker(m), self.vector(bias), self.at(residual), self.at(out), m.rows,
                m.width // m.block, int(halves), int(m.name in unpack.MINS), CTX_N if outputs else CTX_T]  # fmt: skip
        self.scratch = max(self.scratch, few.scratch(m.width), many.SCRATCH)
        self._few(x, m, args, outputs, together)
        self._many(x, m, args, outputs, together)

    def _few(self, x: int, m: Matrix, args: list[int], outputs: bool, together: bool) -> None:
        if not m.floats and self._rounded != x:
            places = (self.q, self.scale32, self.sum32, self.scale16, self.sum16)
            self.add(few.round_rows, [self.at(x), m.width, *map(self.at, places)], FEW_ROWS[outputs])
            self._rounded = x
        elif together:
            self._last["few"].wait = False
        scales = (self.scale16, self.sum16) if m.name in unpack.HALVES else (self.scale32, self.sum32)
        self._last["few"] = self.add(
            few.float_linear if m.floats else few.linear,
            [*args, self.at(x if m.floats else self.q), *map(self.at, scales)],
            m.rows * FEW[outputs], max(4, min(64, m.rows // (4 * self.threads))),
        )  # fmt: skip

    def _many(self, x: int, m: Matrix, args: list[int], outputs: bool, together: bool) -> None:
        if self._lanes != x:
            self.add(many.lay_lanes, [self.at(x), m.width, self.at(self.lanes), args[-1]], MANY_LANES[outputs])
            self._lanes = x
        elif together:
            self._last["many"].wait = False
        rows = many.panel_rows(m.rows, self.threads)
        words = [rows, m.block, m.row // (m.width // m.block), m.kind]
        self._last["many"] = self.add(
            many.panel_linear, [*args, self.at(self.lanes), *words], -(-m.rows // rows) * MANY[outputs]
        )

    def norm(
        self, x: int, weight: int, out: int, n: int, width: int, eps: float, items: Any, residual: int = NONE
    ) -> Phase:  # fmt: skip
        return self.add(kernels.norm, [self.at(x), self.vector(weight), self.at(residual), self.at(out), n, float(eps)],
                        width // n * items)  # fmt: skip

    def rope(self, x: int, table: int, out: int, heads: int, head_dim: int, style: int) -> Phase:
        words = [self.at(x), self.at(table), self.at(out), heads, head_dim, self.widths[table] // 2, style]
        return self.add(kernels.rope, words, heads * TOKENS, 4)

    def kv_write(self, k: int, v: int, cache: int) -> None:
        c = self.program.caches[cache]
        self.add(attention.kv_write, [self.at(k), self.at(v), cache, c.kv_heads, c.head_dim], c.kv_heads * TOKENS)

    def elementwise(self, kernel: Callable[..., None], x: int, y: int, out: int, number: float = 0.0) -> None:
        items, _ = self.items_of(out)
        self.add(kernel, [self.at(x), self.at(y), self.at(out), self.widths[out], float(number)], items)


def embed(p: Plan, op: ops.Embed) -> None:
    m = p.matrix(op.table)
    p.scratch = max(p.scratch, many.unpacked(m.width))
    p.add(kernels.embed, [m.data, m.row, m.width, *p.unpacker(m), p.at(op.out), m.width // m.block, m.kind,
                          float(op.scale)], TOKENS)  # fmt: skip


def rope_table(p: Plan, op: ops.RopeTable) -> None:
    p.add(kernels.rope_table, [p.vector(op.freqs), p.at(op.out), p.widths[op.out] // 2, float(op.mscale)], TOKENS)


def attend(p: Plan, op: ops.Attend) -> None:
    c = p.program.caches[op.cache]
    p.scratch = max(p.scratch, attention.scratch(c.head_dim, op.heads // c.kv_heads))
    p.add(attention.attend, [p.at(op.q), p.at(op.out), op.cache, c.kv_heads, c.head_dim, op.heads, c.window or 1 << 40,
                             float(op.scale), float(op.softcap)], c.kv_heads * RUNS)  # fmt: skip


def rms_norm(p: Plan, op: ops.RmsNorm) -> None:
    p.norm(op.x, op.weight, op.out, op.width, p.widths[op.out], op.eps, p.items_of(op.out)[0])


def norm_add(p: Plan, op: ops.NormAdd) -> None:
    width = p.widths[op.out]
    p.norm(op.x, op.weight, op.out, width, width, op.eps, p.items_of(op.out)[0], op.residual)


def gate_up(p: Plan, op: ops.GateUp) -> None:
    p.linear(op.x, op.gate, NONE, op.out)
    p.linear(op.x, op.up, NONE, p.temp, together=True)
    p.elementwise(GATES[op.act], op.out, p.temp, op.out)


def qkv(p: Plan, op: ops.Qkv) -> None:
    c = p.program.caches[op.cache]
    q_width, k_width = op.heads * op.head_dim, c.kv_heads * op.head_dim
    p.linear(op.x, op.wq, op.bq, op.q)
    p.linear(op.x, op.wk, op.bk, p.temp, together=True)
    p.linear(op.x, op.wv, op.bv, p.other, together=True)
    if op.q_norm != NONE:
        p.norm(op.q, op.q_norm, op.q, op.head_dim, q_width, op.eps, TOKENS).wait = op.k_norm == NONE
    if op.k_norm != NONE:
        p.norm(p.temp, op.k_norm, p.temp, op.head_dim, k_width, op.eps, TOKENS)
    p.rope(op.q, op.table, op.q, op.heads, op.head_dim, op.style).wait = False
    p.rope(p.temp, op.table, p.temp, c.kv_heads, op.head_dim, op.style)
    p.kv_write(p.temp, p.other, op.cache)


def scale(p: Plan, op: ops.Scale) -> None:
    ref = p.program.tensors[op.scale]
    if ref.values is not None:
        factor = ref.values[0]
    else:
        tensor = p.weights[ref.name]
        factor = float(quants.dequantize(tensor.data, tensor.format).reshape(-1)[0])
    p.elementwise(kernels.scale, op.x, op.x, op.out, factor)


def take_rows(p: Plan, op: ops.TakeRows) -> None:
    p.add(kernels.take_rows, [p.at(op.x), p.at(op.out), p.widths[op.out]], OUTPUTS)


def moments(p: Plan, op: ops.Moments) -> None:
    rows = p.items_of(op.x)[1]
    once = FEW[False] + MANY[False]  # whatever the step
    p.add(kernels.moments, [p.at(op.x), p.at(op.out), p.widths[op.x], rows], p.widths[op.x] * once, 16)


MAKE: dict[type[ops.Op], Callable[[Plan, Any], object]] = {
    ops.Embed: embed,
    ops.RmsNorm: rms_norm,
    ops.Linear: lambda p, op: p.linear(op.x, op.weight, op.bias, op.out),
    ops.RopeTable: rope_table,
    ops.Rope: lambda p, op: p.rope(op.x, op.table, op.out, p.widths[op.x] // op.head_dim, op.head_dim, op.style),
    ops.KvWrite: lambda p, op: p.kv_write(op.k, op.v, op.cache),
    ops.Attend: attend,
    ops.Glu: lambda p, op: p.elementwise(GATES[op.act], op.gate, op.up, op.out),
    ops.Add: lambda p, op: p.elementwise(kernels.add, op.a, op.b, op.out),
    ops.Scale: scale,
    ops.Softcap: lambda p, op: p.elementwise(kernels.softcap, op.x, op.x, op.out, op.cap),
    ops.TakeRows: take_rows,
    ops.NormAdd: norm_add,
    ops.LinearAdd: lambda p, op: p.linear(op.x, op.weight, op.bias, op.out, op.residual),
    ops.GateUp: gate_up,
    ops.Qkv: qkv,
    ops.Moments: moments,
}  # fmt: skip
