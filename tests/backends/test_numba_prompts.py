"""Linears of many tokens on the numba backend, and how the tokens of a step are cut up for attention."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.ops import In
from edgeq.program import Builder
from tests.backends.single import near, program
from tests.backends.test_native_ops import attention, batch
from tests.blocks import MemoryWeights, filled

pytest.importorskip("numba", reason="numba has no wheel for this platform")
from tests.backends.test_numba import backend

ROOT = Path(__file__).resolve().parents[2]
Built = tuple[list[int], list[int]]  # handles of inputs and outputs


def with_residual(b: Builder, rows: int, cols: int) -> Built:
    x, residual, out = b.buffer("x", cols), b.buffer("r", rows), b.buffer("y", rows)
    b.add(ops.LinearAdd(In(x), b.tensor("w", rows, cols), b.tensor("b", rows), In(residual), out))
    return [x, residual], [out]


def step(weights: MemoryWeights, inputs: list[np.ndarray], threads: int = 2) -> np.ndarray:
    rows, cols = weights["w"].shape
    made = backend(threads).compile(
        program(lambda b: with_residual(b, rows, cols)), weights, Options(threads, chunk=1024)
    )
    out = made.step(made.new_state(1, 1024, "F16"), batch(len(inputs[0])), inputs)[0]
    made.close()
    return out


def case(fmt: str, rows: int, cols: int, tokens: int) -> tuple[MemoryWeights, list[np.ndarray]]:
    rng = np.random.default_rng(rows + cols + tokens)
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    return weights, [rng.standard_normal((tokens, n)).astype(np.float32) for n in (cols, rows)]


@pytest.mark.parametrize("fmt", ["Q4_1", "Q6_K", "BF16"])
def test_more_tokens_than_meet_a_panel_at_a_time(fmt: str) -> None:
    """Weights are unpacked again for the tokens from the 513th on; 768 weights are three parts of a row."""
    weights, inputs = case(fmt, 61, 768, 541)
    found = step(weights, inputs)
    near(found, inputs[0] @ weights["w"].values().T + weights["b"].values() + inputs[1], 1e-6)
    for part in (slice(0, 512), slice(500, 541)):
        assert np.array_equal(step(weights, [x[part] for x in inputs]), found[part])


@pytest.mark.parametrize("fmt", ["Q5_0", "F32"])
def test_rows_that_do_not_fill_a_panel(fmt: str) -> None:
    for rows in (1, 11, 12, 13, 16, 17, 35, 47, 48, 49, 100):
        for tokens in (17, 31, 32, 33, 48):
            weights, inputs = case(fmt, rows, 288, tokens)
            near(step(weights, inputs), inputs[0] @ weights["w"].values().T + weights["b"].values() + inputs[1], 1e-6)


def test_threads_change_no_bit_whatever_rows_they_take_at_a_time() -> None:
    weights, inputs = case("Q4_K", 500, 512, 40)
    wanted = step(weights, inputs, 1)
    for threads in (2, 3, 8):
        assert np.array_equal(step(weights, inputs, threads), wanted)


def test_what_is_not_finite_stays_with_its_token() -> None:
    weights, inputs = case("Q8_0", 30, 64, 40)
    wanted = step(weights, inputs)
    for bad in (np.nan, np.inf):
        inputs[0][3, 5] = bad
        found = step(weights, inputs)
        assert not np.isfinite(found[3]).any()
        assert np.array_equal(np.delete(found, 3, 0), np.delete(wanted, 3, 0))


def test_rows_are_fewer_where_threads_are_many() -> None:
    from edgeq.backends.numba_panel import PANEL, ROWS, panel_rows

    assert panel_rows(4 * PANEL * 2, 2) == PANEL
    for rows in (1, 100, 500, 4096):
        for threads in (1, 2, 8, 64):
            n = panel_rows(rows, threads)
            assert n % ROWS == 0
            assert ROWS <= n <= PANEL
            assert n == ROWS or rows >= 4 * threads * n


def test_tokens_lie_in_lanes_and_nothing_is_written_beside_them() -> None:
    from edgeq.backends.numba_compile import compiled
    from edgeq.backends.numba_panel import lay_lanes

    tokens, k = 20, 37
    x = np.random.default_rng(0).standard_normal((tokens, k)).astype(np.float32)
    out = np.full((3, k, 16), 7, np.float32)
    places = np.array([x.ctypes.data, out.ctypes.data], np.int64)
    args = np.array([places.ctypes.data, k, places.ctypes.data + 8, 32], np.int64)
    ctx = np.array([0, 0, 0, 0, tokens], np.int64)
    for item in (1, 0):
        compiled(lay_lanes).ctypes(args.ctypes.data, item, item + 1, 0, ctx.ctypes.data)
    assert np.array_equal(out[:2].transpose(0, 2, 1).reshape(32, k), x[np.minimum(np.arange(32), tokens - 1)])
    assert (out[2] == 7).all()


def test_runs_are_consecutive_positions_of_one_sequence() -> None:
    from edgeq.backends.numba_attend import BLOCK, runs

    def cut(positions: list[int], sequences: list[int]) -> list[list[int]]:
        return runs(np.array(positions), np.array(sequences)).tolist()

    assert cut([7], [0]) == [[0, 1]]
    assert cut([0, 1, 2, 4, 5], [0] * 5) == [[0, 3], [3, 2]]
    assert cut([3, 4, 5, 6], [0, 0, 1, 1]) == [[0, 2], [2, 2]]
    assert cut(list(range(2 * BLOCK + 3)), [0] * (2 * BLOCK + 3)) == [[0, BLOCK], [BLOCK, BLOCK], [2 * BLOCK, 3]]


# What is checked in a process that makes code for another processor than this one.
ELSEWHERE = """
from edgeq.backends import numba_compile
{before}
import numpy as np
from edgeq.backends.numba_panel import VECTORS
from tests.backends.test_numba import IDS, exact, executable, logits
from tests.backends.test_native_ops import test_linear
from tests.backends.test_numba import run_here
from tests.backends.single import near
assert VECTORS == 1
near(logits(executable("gemma3"), [40, 1, 1, 18]), exact("gemma3"), 1e-3)
made = executable("gemma3", reproducible=True)
assert np.array_equal(logits(made, [60]), logits(made, [3, 57]))
for fmt in ("Q4_1", "IQ3_S", "MXFP4", "F16"):
    test_linear(fmt, run_here)
print("same")
"""
AVX2 = ",".join(f"+{name}" for name in (
    "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "popcnt", "lzcnt",
    "cx16", "fxsr", "mmx", "cmov", "64bit"))  # fmt: skip


def elsewhere(tmp_path: Path, before: str, **env: str) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **env}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE.format(before=before)], capture_output=True, text=True,
                          timeout=200, env=env, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_that_knows_nothing_of_the_processor(tmp_path: Path) -> None:
    assert elsewhere(tmp_path, "numba_compile.host_features = lambda: frozenset()") == "same\n"


def test_code_for_avx2(tmp_path: Path) -> None:
    from edgeq.backends.numba_compile import host_features

    if not {"avx2", "fma", "f16c"} <= host_features():
        pytest.skip("left out: needs a processor with AVX2")
    assert elsewhere(tmp_path, "", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=AVX2) == "same\n"


def test_prompts_of_several_sequences_with_wanted_rows_of_all_kinds() -> None:
    """Few rows are wanted of many tokens: the head sums them like one token, everything before it like a prompt."""
    from tests.backends.test_numba import IDS, executable

    made = executable("llama")
    state = made.new_state(2, 64, "F32")
    tokens = IDS[:20] + IDS[20:40]
    both = Batch(tokens, [*range(20), *range(20)], [0] * 20 + [1] * 20, [19, 39])
    found = made.step(state, both)[0]
    for s in (0, 1):
        alone = made.step(made.new_state(1, 64, "F32"), Batch.single(tokens[20 * s : 20 * s + 20], 0))[0]
        assert np.array_equal(found[s : s + 1], alone)


def test_few_rows_that_are_wanted_of_many_between_linears_of_all() -> None:
    """What is at hand of the few, rounded, is not what is at hand of all, in lanes."""
    rng = np.random.default_rng(1)

    def build(b: Builder) -> Built:
        x = b.buffer("x", 64)
        some = b.take_rows("some", x)
        y, z, u = (b.linear(n, h, b.tensor(n, 20, 64), 20) for n, h in (("y", some), ("z", x), ("u", some)))
        return [x], [y, z, u]

    made = program(build)
    weights = filled(rng, [(n, (20, 64)) for n in "yzu"], {"z": "F16"}, "Q8_0", 1.0)
    executable = backend(2).compile(made, weights, Options(2, chunk=64))
    x = rng.standard_normal((40, 64)).astype(np.float32)
    wanted = Batch([1] * 40, range(40), [0] * 40, [5, 39])
    found = executable.step(executable.new_state(1, 64, "F32"), wanted, [x])
    for out, name, rows in zip(found, "yzu", (x[[5, 39]], x, x[[5, 39]]), strict=True):
        near(out, rows @ weights[name].values().T, 1e-4)


def wide(b: Builder) -> Built:
    x = b.buffer("x", 40960)
    return [x], [b.linear("y", x, b.tensor("w", 8, 40960), 8)]


def narrow(b: Builder) -> Built:
    x = b.buffer("x", 256)
    return [x], [b.linear("y", x, b.tensor("w", 96, 256), 96)]


def looked_up(b: Builder) -> Built:
    return [], [b.embed(b.tensor("w", 9, 40960), 40960)]


def many_heads(b: Builder) -> Built:
    return attention(b, 100, 1, 72, 0, 0.0)


@pytest.mark.parametrize(("build", "tokens"), [(wide, 3), (narrow, 540), (looked_up, 5), (many_heads, 40)])
def test_kernels_stay_within_their_scratch(build: Callable[[Builder], Built], tokens: int) -> None:
    made = program(build)
    rng = np.random.default_rng(0)
    weights = filled(rng, [(t.name, t.shape) for t in made.tensors], {}, "Q2_K", 1.0)
    executable = backend(2).compile(made, weights, Options(2, chunk=1024))
    size = executable._plan.scratch
    executable._scratch = [np.full(size + (1 << 16), 0xA5, np.uint8) for _ in executable._scratch]
    inputs = [rng.standard_normal((tokens, made.buffers[h].width)).astype(np.float32) for h in made.inputs]
    out = executable.step(executable.new_state(1, 1024, "F32"), batch(tokens), inputs)[0]
    assert np.isfinite(out).all()
    for array in executable._scratch:
        used = -array.ctypes.data % 64 + size
        assert (array[used:] == 0xA5).all()
