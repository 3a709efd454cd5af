"""The native library with the address and undefined-behaviour sanitizers, on buffers of the exact size: all of
test_native_ops, every kernel alone, and whole steps, programs, batches, states and rows from hostile bytes.

    python -m pytest tests/native/sanitized.py

Not collected by itself: compiling every variant with sanitizers takes minutes. Needs GCC or Clang with both.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeq import quants
from native.toolchain import find_compiler
from tests.backends import test_native_ops
from tests.backends.conftest import ISAS, works
from tests.native.driver import CHECKS, EXACT_PAGES, Driver, build, name
from tests.quants.encoding import ARRAYS, importance
from tests.quants.encoding import FORMATS as ENCODED

FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", *EXACT_PAGES, f"-fsanitize={CHECKS}"]
VARIANTS = [isa for isa in ISAS if works(isa)]
PROGRAMS = ("run_program", "exact_buffers", "fuzz_seeded")
CASES = {"program": 3000, "batch": 300, "state": 1500, "scan": 50_000, "dequantize": 20_000}
STEPS = {"scalar": 60}  # programs with hostile weights; more where kernels are faster
LIMITS = "max_allocation_size_mb=512:hard_rss_limit_mb=2048:detect_leaks=1"

globals().update({key: test for key, test in vars(test_native_ops).items() if key.startswith("test_")})


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    tool = find_compiler(os.environ.get("CC", ""))
    return {s: build(tool, f"{s}.c", more=FLAGS, link=[f"-fsanitize={CHECKS}"]) for s in PROGRAMS}


@pytest.fixture(scope="session")
def driver(programs: dict[str, Path]) -> Iterator[Driver]:
    made = Driver(programs["run_program"])
    yield made
    assert (made.close(), made.said) == (0, "")


@pytest.fixture(params=VARIANTS)
def isa(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    driver.isa = request.param
    return driver


def test_every_kernel_on_exact_buffers(programs: dict[str, Path]) -> None:
    done = subprocess.run([programs["exact_buffers"]], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_encoders(isa: Driver) -> None:
    """The bytes of the library without sanitizers; also numbers at the ends of what is taken."""
    x, w = np.concatenate([make()[:1, :256] for make in ARRAYS.values()]), importance(256)
    ends = np.array([0, 65504, -65504, 1e-38, 1e-45, -1e-7, 2688, 1], np.float32)
    for fmt in ENCODED:
        for rows in (x, np.tile(ends, 64).reshape(2, 256)):
            sizes = struct.pack("<3q", quants.FORMATS[fmt].id, *rows.shape)
            for scaled in (b"", (w / w.max()).astype(np.float32).tobytes(), bytes(4 * 256)):
                status, blocks = isa.ask("e", name(isa.isa), sizes, np.ascontiguousarray(rows).tobytes(), scaled)
                assert status == bytes(4)
                if rows is x and scaled != bytes(4 * 256):
                    assert blocks == quants.quantize(x, fmt, w if scaled else None).tobytes(), fmt


def seeded(programs: dict[str, Path], target: str, cases: int, isa: str | None = None) -> str:
    """Cases of fuzz_native.c from random bytes; what it says of them."""
    env = {**os.environ, "ASAN_OPTIONS": LIMITS, **({"EDGEQ_FUZZ_ISA": isa} if isa else {})}
    done = subprocess.run(
        [programs["fuzz_seeded"], target, str(cases), "1"], capture_output=True, text=True, timeout=600, env=env
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:4000]
    return done.stdout.strip()


@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_steps_on_hostile_weights(
    programs: dict[str, Path], variant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = STEPS.get(variant, 300)
    said = seeded(programs, "weights", cases, variant)
    assert said == f"weights: 0 refused, {cases} ran"
    with capsys.disabled():
        print(f" {variant}, {said}", end=" ")


@pytest.mark.parametrize("target", CASES)
def test_hostile_calls(programs: dict[str, Path], target: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = seeded(programs, target, CASES[target])
    refused, ran = (int(word) for word in said.replace(",", "").split() if word.isdigit())
    assert ran > CASES[target] // 20 and (refused > CASES[target] // 20 or target == "scan")
    with capsys.disabled():
        print(f" {said}", end=" ")
