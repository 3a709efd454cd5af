"""Programs of a single op, run by two backends on the same random buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from edgeq.backends import reference
from edgeq.backends.base import Batch, Options
from edgeq.backends.native import NativeBackend
from edgeq.backends.reference import ReferenceBackend
from edgeq.program import Builder, Program, validate
from edgeq.quants import FORMATS
from tests.blocks import MemoryWeights

_POOLS: dict[int, NativeBackend] = {}

Steps = list[tuple[Batch, list[np.ndarray]]]
# Runs the steps of a program somewhere else than in this process; outputs of the last.
Runner = Callable[[Program, MemoryWeights, Options, Steps, str, int], list[np.ndarray]]


def native(threads: int) -> NativeBackend:
    return _POOLS.setdefault(threads, NativeBackend())


def program(build: Callable[[Builder], tuple[list[int], list[int]]], layers: int = 1) -> Program:
    """`build` adds ops and gives the handles of inputs and outputs."""

    b = Builder()
    b.layer = 0
    inputs, outputs = build(b)
    b._ops, ops = [], tuple(b._ops)  # finish would refuse a program that reads its inputs
    shell = Program(ops, (0,) * len(ops), tuple(b._buffers), tuple(b._tensors), tuple(b._caches), tuple(inputs),
                    tuple(outputs), layers)  # fmt: skip
    made = shell.replace()
    validate(made)
    return made


def run(
    made: Program, weights: MemoryWeights, inputs: list[np.ndarray], batch: Batch, *,
    isa: str | Runner | None = None, threads: int = 2, kv_type: str = "F32", context: int = 256,
    before: Steps | None = None, reproducible: bool = False, dtype: type = np.float64, chunk: int = 128,
) -> list[np.ndarray]:  # fmt: skip
    """Outputs of the program on the native variant `isa`, by a runner, or on the reference for None.

    `before`: steps done first."""
    forced = isa if isinstance(isa, str) else None
    options = Options(threads=threads, chunk=chunk, isa=forced, reproducible=reproducible)
    if callable(isa):
        return isa(made, weights, options, [*(before or []), (batch, inputs)], kv_type, context)
    backend = ReferenceBackend(dtype) if isa is None else native(threads)
    executable = backend.compile(made, weights, options)
    state = executable.new_state(2, context, kv_type)
    for earlier, values in before or []:
        executable.step(state, earlier, values)
    out = executable.step(state, batch, inputs)
    executable.close()
    return out


def near(found: np.ndarray, wanted: np.ndarray, share: float) -> None:
    """RMS error at most `share` of the RMS of what is wanted, no entry off by more than 50 times that."""
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    scale = np.sqrt(np.mean(np.square(wanted, dtype=np.float64))) + 1e-30
    error = np.abs(found.astype(np.float64) - wanted)
    assert np.sqrt(np.mean(error**2)) <= share * scale, (np.sqrt(np.mean(error**2)) / scale, share)
    assert error.max() <= 50 * share * scale


# --- what the products of linears see of their inputs -----------------------------------------------------------

def variant(by: str | Runner) -> str:
    return by if isinstance(by, str) else getattr(by, "ran", "numba")


# Tokens that choose together.
BLOCK = {"scalar": 8, "avx2": 16, "avxvnni": 16, "avx512vnni": 32, "neon": 16, "neondot": 8}
ROWS = 16  # up to so many tokens, every activation has both bytes


def seen(x: np.ndarray, by: str | Runner, fmt: str, reproducible: bool = False) -> np.ndarray:
    """The activations [T, K] as `by` rounds them for its integer products with weights of this format; numba's of many
    tokens are of floats."""
    x = x.astype(np.float32)
    few = len(x) <= ROWS or reproducible
    if variant(by) == "numba":
        return rounded(x) if few else x
    if few and variant(by) in ("avx2", "avxvnni") and FORMATS[fmt].block == 256 and fmt != "IQ4_XS":
        return rounded(x, 256, -127)
    if few:
        return rounded(x)
    return bf16(x) if variant(by) == "amx" else packed(x, BLOCK[variant(by)])


def known(w: np.ndarray, tokens: int, by: str | Runner) -> np.ndarray:
    """The weights as `by` multiplies them with so many tokens."""
    return bf16(w) if tokens > ROWS and variant(by) == "amx" else w


def bf16(x: np.ndarray) -> np.ndarray:
    """Rounded to 8 bits of mantissa, ties to even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def rounded(x: np.ndarray, group: int = 32, least: int = -128) -> np.ndarray:
    """The activations [T, K] that integer dots see: whole multiples of largest/32512 in every group.

    Their low byte is at least so much."""
    groups = x.reshape(len(x), -1, group)
    top = np.abs(groups).max(axis=-1, keepdims=True)
    q = np.rint(groups * np.divide(np.float32(32512), top, out=np.zeros_like(top), where=top > 0))
    high = np.floor((q + 128) / 256)
    return ((256 * high + np.maximum(q - 256 * high, least)) * (top.astype(np.float64) / 32512)).reshape(x.shape)


def packed(x: np.ndarray, block: int) -> np.ndarray:
    """The activations [T, K] that many tokens' products see: whole multiples of largest/127 where that loses little.

    In a group of 32 that loses more than its share of 1 % of a token's length, on average over `block` tokens, those
    of `rounded`, but for the lowest byte -128."""
    groups = x.reshape(len(x), -1, 32)
    unit = np.abs(groups).max(axis=-1, keepdims=True).astype(np.float64) / 32512
    q = rounded(x).reshape(groups.shape) / np.where(unit > 0, unit, 1)
    high = np.floor((np.rint(q) + 128) / 256)
    low = np.maximum(np.rint(q) - 256 * high, -127)
    lost = ((unit * low) ** 2).sum(-1)
    length = ((unit * high * 256) ** 2).sum((1, 2))
    for t in range(0, len(x), block):
        part = slice(t, t + block)
        share = (lost[part] / np.maximum(length[part], 1e-30)[:, None]).mean(0)
        low[part, share <= 1e-4 / groups.shape[1]] = 0
    return (unit * (256 * high + low)).reshape(x.shape)


def wanted(
    made: Program, weights: MemoryWeights, inputs: list[np.ndarray], batch: Batch, by: str | Runner,
    reproducible: bool = False, **more: Any,
) -> list[np.ndarray]:  # fmt: skip
    """Outputs of the reference in float64, with activations rounded as `by` rounds them."""
    exact = reference.linear

    def linear(s: reference.Step, x: np.ndarray, weight: int, bias: int) -> np.ndarray:
        fmt = weights[made.tensors[weight].name].format.name
        if fmt in ("F32", "F16", "BF16"):
            return exact(s, x, weight, bias)
        values = s.weight
        tokens = 1 if reproducible else len(x)
        with mock.patch.object(s, "weight", lambda h: known(values(h), tokens, by) if h == weight else values(h)):
            return exact(s, seen(x, by, fmt, reproducible), weight, bias)

    with mock.patch.object(reference, "linear", linear):
        return run(made, weights, inputs, batch, **more)
