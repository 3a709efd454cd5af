"""The numba backend: every test of test_native_ops again, whole models, and what belongs to this backend alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import _lib, backends, ops
from edgeq.backends.base import Batch, Cancel, Options
from edgeq.backends.chain import compile_chain
from edgeq.backends.numba import NumbaBackend
from edgeq.backends.reference import ReferenceBackend
from edgeq.errors import BackendError, Cancelled, UsageError
from edgeq.passes.fuse import fuse
from edgeq.program import Program
from tests import families
from tests.backends import test_native_ops
from tests.backends.single import Runner, Steps, near
from tests.blocks import MemoryWeights
from tests.small import tiny

pytest.importorskip("numba", reason="numba has no wheel for this platform")
ROOT = Path(__file__).resolve().parents[2]
BACKENDS: dict[int | None, NumbaBackend] = {}

globals().update({key: test for key, test in vars(test_native_ops).items() if key.startswith("test_")})


def backend(threads: int | None) -> NumbaBackend:
    return BACKENDS.setdefault(threads, NumbaBackend())


def run_here(made: Program, weights: MemoryWeights, options: Options, steps: Steps, kv_type: str, context: int) -> list:
    executable = backend(options.threads).compile(made, weights, options)
    state = executable.new_state(2, context, kv_type)
    for batch, inputs in steps:
        out = executable.step(state, batch, inputs)
    executable.close()
    return out


@pytest.fixture
def isa() -> Runner:
    return run_here


def test_every_op_and_format_has_a_kernel() -> None:
    from edgeq.backends import numba_plan, numba_unpack

    assert set(numba_plan.MAKE) == set(ops.OPS)
    assert set(numba_unpack.KERNELS) == set(test_native_ops.LINEAR)


IDS = [(7 * i * i + 3) % families.VOCAB for i in range(60)]


def executable(family: str, threads: int = 2, fmt: str = "Q8_0", chunk: int = 64, **options: Any) -> Any:
    program = families.lower(family)
    return backend(threads).compile(
        fuse(program, lambda op: True), families.weights(program, fmt), Options(threads, chunk, **options)
    )


def logits(made: Any, sizes: list[int], kv_type: str = "F32", cancel: Cancel | None = None) -> np.ndarray:
    state, out, at = made.new_state(1, 128, kv_type), [], 0
    for n in sizes:
        out.append(made.step(state, Batch.single(IDS[at : at + n], at, outputs=range(n)), cancel=cancel)[0])
        at += n
    return np.concatenate(out)


def exact(family: str) -> np.ndarray:
    program = families.lower(family)
    return logits(ReferenceBackend(np.float64).compile(program, families.weights(program), Options(chunk=64)), [60])


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_models_are_near_the_reference(family: str) -> None:
    near(logits(executable(family), [40, 1, 1, 18]), exact(family), 1e-3)
    plain = families.lower(family)
    made = backend(2).compile(plain, families.weights(plain), Options(chunk=64))
    near(logits(made, [40, 1, 1, 18]), exact(family), 1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_neither_threads_nor_chunks_change_a_bit(family: str) -> None:
    wanted = logits(executable(family, 1, reproducible=True), [60])
    for threads, sizes in ((1, [1] * 60), (2, [16, 40, 4]), (4, [3, 57]), (2, [60])):
        made = executable(family, threads, reproducible=True)
        assert np.array_equal(logits(made, sizes), wanted)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_parts_of_more_than_sixteen_tokens_change_no_bit(family: str) -> None:
    """Also without `reproducible`: each output is a sum of its own, whatever lane its token lies in."""
    wanted = logits(executable(family, 1), [60])
    for threads, sizes in ((1, [17, 43]), (2, [20, 23, 17]), (4, [33, 27])):
        assert np.array_equal(logits(executable(family, threads), sizes), wanted)
    assert not np.array_equal(logits(executable(family), [16, 44]), wanted)


@pytest.mark.parametrize(("kv_type", "share"), [("F16", 3e-3), ("Q8_0", 3e-2), ("Q4_0", 0.4)])
def test_models_with_rounded_keys_and_values(kv_type: str, share: float) -> None:
    near(logits(executable("qwen3"), [40, 20], kv_type), exact("qwen3"), share)


def test_layers_split_between_numba_and_the_reference() -> None:
    program = families.lower("gemma3")
    weights = families.weights(program)
    for first, rest in (("numba", "reference"), ("reference", "numba")):
        chain = compile_chain(program, weights, Options(2, 64), backends.find(first), [(3, rest), (5, first)])  # type: ignore[arg-type]
        near(logits(chain, [40, 20]), exact("gemma3"), 1e-3)
        assert chain.crossed == [4 * 60 * families.WIDTH] * 2
        chain.close()


def test_states_are_copied_saved_and_restored() -> None:
    made = executable("gemma3")
    state = made.new_state(2, 128, "F16")
    made.step(state, Batch.single(IDS[:40], 0))
    wanted = made.step(state, Batch.single(IDS[40:50], 40))[0]
    saved = state.snapshot(0, 40)
    state.copy(0, 1, 40)
    assert np.array_equal(made.step(state, Batch.single(IDS[40:50], 40, sequence=1))[0], wanted)
    other = made.new_state(1, 128, "F16")
    other.restore(0, saved, 40)
    assert np.array_equal(made.step(other, Batch.single(IDS[40:50], 40))[0], wanted)
    for call in (lambda: other.restore(0, saved[:-1], 40), lambda: other.restore(1, saved, 40),
                 lambda: state.copy(0, 2, 4), lambda: state.snapshot(0, 129),
                 lambda: made.new_state(1, 64, "Q5_0"), lambda: made.new_state(0, 64),
                 lambda: made.step(state, Batch.single([families.VOCAB], 0)),
                 lambda: made.step(state, Batch.single([1], 128))):  # fmt: skip
        with pytest.raises(UsageError):
            call()
    with pytest.raises(BackendError, match="another executable"):
        executable("gemma3").step(state, Batch.single([1], 0))


def test_a_step_is_cancelled() -> None:
    made, cancel = executable("llama", 4), Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        logits(made, [60], cancel=cancel)
    cancel.clear()
    assert np.array_equal(logits(made, [60], cancel=cancel), logits(made, [60]))


def test_a_step_is_cancelled_in_its_middle() -> None:
    made, cancel = executable("llama", 1, chunk=4096), Cancel()
    state, ids = made.new_state(1, 4096, "F32"), IDS * 60
    found: list[Exception] = []

    def work() -> None:
        try:
            made.step(state, Batch.single(ids, 0), cancel=cancel)
        except Cancelled as error:
            found.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    first, last = state.arrays[0][0], state.arrays[-1][0]
    while worker.is_alive() and not first.any():
        time.sleep(1e-4)
    cancel.set()
    worker.join()
    assert found
    assert first.any()  # keys of the first layer were written, those of the last were not
    assert not last.any()
    cancel.clear()
    again = made.step(state, Batch.single(IDS, 0), cancel=cancel)[0]
    assert np.array_equal(again, made.step(made.new_state(1, 128, "F32"), Batch.single(IDS, 0))[0])


SHRINK = """
import os, sys
import edgeq
from edgeq.errors import FileChangedError
path, seen = sys.argv[1:]
model = edgeq.load(path, backend="numba", threads=2, context=64)
model.logits([1, 2, 3])
os.truncate(path, 8192)  # what no step has read yet is gone, and pages that are in memory too
if seen == "later":
    model.file.changed = lambda: False  # as if the file shrank right after the check before the step
for call in (lambda: model.logits([1, 2, 3]), lambda: model.session().extend([4])):
    try:
        call()
        print("answered")
    except FileChangedError as error:
        print(error)
"""


def shrunk(tmp_path: Path, seen: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny().read_bytes())
    command = [sys.executable, "-c", SHRINK, str(path), seen]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env}, cwd=ROOT)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be cut there")
@pytest.mark.parametrize("env", [{}, {"EDGEQ_LIBRARY": "none.so"}], ids=["guarded", "no library"])
def test_a_file_that_shrank_before_a_step_is_an_error(env: dict[str, str], tmp_path: Path) -> None:
    done = shrunk(tmp_path, "before", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("changed") == 2, done.stdout
    assert "answered" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32" or not _lib.available(), reason="left out: needs the library's guard")
def test_a_file_that_shrinks_during_a_step_is_an_error(tmp_path: Path) -> None:
    done = shrunk(tmp_path, "later")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("changed or shrank while it was in use") == 2, done.stdout


def test_a_closed_model_is_an_error_not_a_crash() -> None:
    model = edgeq.load(tiny(), backend="numba", context=64)
    model.close()
    with pytest.raises(UsageError, match="closed"):
        model.logits([1])


def test_steps_from_many_threads_take_turns() -> None:
    made = executable("llama", reproducible=True)
    wanted = logits(made, [60])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda n: logits(made, [n, 60 - n]), range(10, 18)):
            assert np.array_equal(found, wanted)


def test_threads_are_as_many_as_asked() -> None:
    made = NumbaBackend()
    assert made.threads == 0
    program = families.lower("llama")
    made.compile(program, families.weights(program), Options(threads=3))
    assert made.threads == 3
    with pytest.raises(UsageError, match="threads"):
        NumbaBackend().compile(program, families.weights(program), Options(threads=0))


def test_numba_is_imported_when_it_is_needed_and_what_to_do_without_it() -> None:
    code = """
import sys
from edgeq import backends
from edgeq.backends.base import Options
from tests import families
found = backends.find("numba")
assert "numba" not in sys.modules
sys.modules["numba"] = None
program = families.lower("llama")
found.compile(program, families.weights(program), Options(2))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert "BackendError" in done.stderr
    assert "pip install numba" in done.stderr


NAMED = os.environ.get("EDGEQ_TEST_MODELS")
REAL = sorted(Path(NAMED).glob("*.gguf") if NAMED else [], key=lambda p: p.stat().st_size)[:2]


@pytest.mark.skipif(not REAL, reason="left out: no real models (set EDGEQ_TEST_MODELS to a folder with GGUF files)")
def test_real_models_are_near_exact_arithmetic() -> None:
    """Mean Kullback-Leibler divergence from float32 on dequantized weights; rounding to 16 bits gives about 1e-6."""
    for path in REAL:
        found = {}
        for name, kv_type in (("reference", "F32"), ("numba", "F16")):
            with edgeq.load(path, backend=name, kv_type=kv_type, context=64) as model:
                ids = model.tokenize("The sky is blue because light of short waves is scattered. def f(x): return x")
                x = model.logits(ids).astype(np.float64)
            x -= x.max(axis=-1, keepdims=True)
            found[name] = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
        exact, ours = found["reference"], found["numba"]
        assert (np.exp(exact) * (exact - ours)).sum(axis=-1).mean() < 1e-5
