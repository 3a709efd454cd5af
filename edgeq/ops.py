"""The op vocabulary: what a program can say. Owns formulas, operands and shapes; knows no model and no backend.

Dimension letters: T tokens of the step, N output rows of the step, D model width, F feed-forward width, H query
heads, K key/value heads, E head width, V vocabulary. Every buffer is float32 [T, width] (or [N, width], [1, width]),
row-major.
`native/ops.gen.h` is emitted from here (`python -m edgeq.ops > native/ops.gen.h`); a test holds the two together.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, NewType

from edgeq.record import Record

In = NewType("In", int)  # handle of a buffer that is read
Out = NewType("Out", int)  # handle of a buffer that is written
Weight = NewType("Weight", int)  # handle of a tensor of the file, or of a constant of the program
Cache = NewType("Cache", int)  # handle of the key/value cache of one layer

NONE = -1  # an optional operand that is absent


class Act(IntEnum):
    """Activation of a gated unit."""

    SILU = 0  # x / (1 + exp(-x))
    GELU = 1  # x/2 · (1 + tanh(√(2/π)·(x + 0.044715 x³))), the tanh form that Gemma was trained with


class RopeStyle(IntEnum):
    """Which two components of a head turn together."""

    PAIRS = 0  # (2i, 2i+1): the original Llama order, kept by GGUF's `llama`
    HALVES = 1  # (i, i + rot/2): GPT-NeoX order, used by Qwen and Gemma


class Op(Record):
    """Base of all ops. Subclasses only declare fields; a handle of `NONE` means an absent optional operand."""

    parts: ClassVar[str] = ""  # for a fused op: the plain ops it equals, in words

    word: ClassVar[str] = "op"  # its name in C and in print: `RmsNorm` → rms_norm
    operands: ClassVar[dict[str, tuple[str, ...]]] = {}  # kind of handle → fields of that kind, in order

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.word = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("_")
        cls.operands = {k: tuple(n for n, t in cls.fields.items() if t == k) for k in ("In", "Out", "Weight", "Cache")}

    def handles(self, kind: str) -> list[int]:
        """Handles of one kind ("In", "Out", "Weight", "Cache") that this op uses, in field order."""
        state = self.__dict__
        return [state[name] for name in self.operands[kind] if state[name] != NONE]


# --- plain ops -------------------------------------------------------------------------------------------------


class Embed(Op):
    """out[t, :] = scale · table[token[t], :].   table [V, D], out [T, D]"""

    table: Weight
    out: Out
    scale: float


class RmsNorm(Op):
    """For each run r of `width` values: out[r] = x[r] / √(mean(x[r]²) + eps) · weight.

    x, out [T, n·width], weight [width].
    `width` is D for a layer's norm and E where every head is normalized by itself. (Zhang and Sennrich 2019.)"""

    x: In
    weight: Weight
    out: Out
    width: int
    eps: float


class Linear(Op):
    """out[t, n] = Σ_k weight[n, k] · x[t, k] + bias[n].   x [T, K], weight [N, K], bias [N] or absent, out [T, N]"""

    x: In
    weight: Weight
    bias: Weight
    out: Out


class RopeTable(Op):
    """out[t, i] = mscale · cos(p·f_i), out[t, R/2 + i] = mscale · sin(p·f_i), p = position[t].

    freqs [R/2], out [T, R].
    All RoPE scalings (linear, llama3, yarn, longrope) are choices of f and mscale, made when the model is lowered."""

    freqs: Weight
    out: Out
    mscale: float


class Rope(Op):
    """Turns component pairs (a, b) of every head by the table: (a·cos - b·sin, a·sin + b·cos).

    x, out [T, n·E], table [T, R].
    The first R components of each head turn, the rest pass through. x and out may be one buffer. (Su et al. 2021.)"""

    x: In
    table: In
    out: Out
    head_dim: int
    style: int


class KvWrite(Op):
    """Stores k[t], v[t] in the cache of sequence[t] at position[t].   k, v [T, K·E]"""

    k: In
    v: In
    cache: Cache


class Attend(Op):
    """Causal attention of every query head over its sequence's cache.   q, out [T, H·E]

    s_j = cap(scale · q·k_j), out = Σ_j softmax(s)_j · v_j over positions max(0, p-window+1) ≤ j ≤ p (window 0: all);
    cap(s) = softcap · tanh(s / softcap), or s where softcap is 0. Query head h reads key/value head h // (H/K)."""

    q: In
    out: Out
    cache: Cache
    heads: int
    scale: float
    softcap: float


class Glu(Op):
    """out = act(gate) · up.   gate, up, out [T, F]  (Shazeer 2020)"""

    gate: In
    up: In
    out: Out
    act: int


class Add(Op):
    """out = a + b.   a, b, out [T, D]"""

    a: In
    b: In
    out: Out


class Scale(Op):
    """out = scale[0] · x.   x, out [·, width], scale [1]  (the second-level scale of a weight in NVFP4 files)"""

    x: In
    scale: Weight
    out: Out


class Softcap(Op):
    """out = cap · tanh(x / cap).   x, out [·, width]"""

    x: In
    out: Out
    cap: float


class TakeRows(Op):
    """out[n, :] = x[output[n], :]: the tokens of the step whose logits are wanted.   x [T, D], out [N, D]"""

    x: In
    out: Out


# --- fused ops: made by edgeq.passes.fuse, equal to the plain ops named in `parts`; a backend may decline them --------


class NormAdd(Op):
    """out = residual + RmsNorm(x, weight).   x, residual, out [T, D]"""

    parts: ClassVar[str] = "RmsNorm, Add"
    x: In
    weight: Weight
    residual: In
    out: Out
    eps: float


class LinearAdd(Op):
    """out = residual + Linear(x, weight, bias).   x [T, K], residual, out [T, N]"""

    parts: ClassVar[str] = "Linear, Add"
    x: In
    weight: Weight
    bias: Weight
    residual: In
    out: Out


class GateUp(Op):
    """out = act(Linear(x, gate)) · Linear(x, up).   x [T, D], gate, up [F, D], out [T, F]"""

    parts: ClassVar[str] = "Linear, Linear, Glu"
    x: In
    gate: Weight
    up: Weight
    out: Out
    act: int


class Qkv(Op):
    """q = rope(norm(Linear(x, wq, bq))); k likewise, and v = Linear(x, wv, bv), go to the cache.   x [T, D], q [T, H·E]

    The head norm is left out where its weight is absent; rope turns the first R components by table [T, R]."""

    parts: ClassVar[str] = "Linear ×3, RmsNorm ×2 (optional), Rope ×2, KvWrite"
    x: In
    table: In
    wq: Weight
    bq: Weight
    wk: Weight
    bk: Weight
    wv: Weight
    bv: Weight
    q_norm: Weight
    k_norm: Weight
    q: Out
    cache: Cache
    heads: int
    head_dim: int
    style: int
    eps: float


# --- ops that only look: made by edgeq.passes.tap ---------------------------------------------------------------------


class Moments(Op):
    """out[0, k] = Σ_t x[t, k], out[0, K + k] = Σ_t x[t, k]²: what one step adds to the statistics of x.

    x [T, K] or [N, K], out [1, 2K]. Sums are float64 over rows in order, and rounded once."""

    x: In
    out: Out


PLAIN: tuple[type[Op], ...] = (
    Embed, RmsNorm, Linear, RopeTable, Rope, KvWrite, Attend, Glu, Add, Scale, Softcap, TakeRows,
)  # fmt: skip
FUSED: tuple[type[Op], ...] = (NormAdd, LinearAdd, GateUp, Qkv)
LOOKING: tuple[type[Op], ...] = (Moments,)
OPS: tuple[type[Op], ...] = PLAIN + FUSED + LOOKING


def c_header() -> str:
    """The C declaration of the vocabulary: an enum of kinds, a struct per op, a union. cffi reads it: no directives."""
    lines = ["/* Made from edgeq/ops.py by `python -m edgeq.ops`. Do not edit. */", "enum eq_op_kind {"]
    lines += [f"    EQ_OP_{op.word.upper()} = {i}," for i, op in enumerate(OPS)]
    lines += [f"    EQ_OP_COUNT = {len(OPS)}", "};", ""]
    for op in OPS:
        members = "".join(f" {'float' if t == 'float' else 'int32_t'} {name};" for name, t in op.fields.items())
        lines.append(f"typedef struct {{{members} }} eq_op_{op.word};")
    lines += ["", "typedef struct {", "    int32_t kind;", "    int32_t layer;", "    union {"]
    lines += [f"        eq_op_{op.word} {op.word};" for op in OPS]
    lines += ["    } u;", "} eq_op;", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(c_header(), end="")
