"""The native library on aarch64: cross-compiled and run by qemu, on processors with and without dot products.

Every test of test_native_ops but one runs here again, in a program on the other processor. Left out, with the
reason, where the cross compiler or qemu is missing.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeq import _lib, quants
from edgeq.gguf.arrays import scan_python
from native.toolchain import find_compiler
from tests.backends import test_native_ops
from tests.backends.single import Steps, near, program, run
from tests.blocks import MemoryWeights, filled, random_blocks
from tests.native.driver import Driver, build, name
from tests.quants.encoding import ARRAYS, importance
from tests.quants.encoding import FORMATS as ENCODED

GCC, TARGET = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu"
LINEAR = test_native_ops.LINEAR
# Processors: the first has no dot products, nor has A64FX, but that has every feature between.
OLD, NEW = "cortex-a72", "cortex-a76"
BEST = {OLD: "neon", NEW: "neondot", "a64fx": "neon", "max": "neondot"}
VARIANTS = [("neon", OLD), ("neondot", NEW), ("scalar", OLD)]

SLOW = "test_attention_over_several_segments_and_two_sequences"
globals().update({k: t for k, t in vars(test_native_ops).items() if k.startswith("test_") and k != SLOW})


@pytest.fixture(scope="module")
def qemu() -> str:
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if found is None:
        pytest.skip("qemu-aarch64 (package qemu-user-static) is not installed: NEON kernels are not tested here")
    return found


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    """The test programs for aarch64, linked statically: qemu then needs no libraries of that machine."""
    if shutil.which(GCC) is None:
        pytest.skip(f"{GCC} is not installed: the NEON kernels are not tested here")
    if not _lib.available():
        pytest.skip(f"programs cannot be packed without the native library: {_lib.why_not()}")
    tool = find_compiler(GCC, TARGET)
    return {s: build(tool, f"{s}.c", link=["-static"]) for s in ("run_program", "exact_buffers")}


@pytest.fixture(scope="module")
def drivers(programs: dict[str, Path], qemu: str) -> Iterator[dict[str, Driver]]:
    """One running program per processor."""
    made = {cpu: Driver(qemu, "-cpu", cpu, programs["run_program"]) for cpu in BEST}
    yield made
    assert [driver.close() for driver in made.values()] == [0] * len(made)


@pytest.fixture(params=VARIANTS, ids=lambda p: f"{p[0]}-{p[1]}")
def isa(request: pytest.FixtureRequest, drivers: dict[str, Driver]) -> Driver:
    variant, cpu = request.param
    driver = drivers[cpu]
    driver.isa = variant
    return driver


@pytest.fixture(params=BEST)
def cpu(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_attention_over_two_segments(isa: Driver) -> None:
    """In place of SLOW, whose many products take ten seconds to emulate."""
    rng = np.random.default_rng(26)
    made = program(lambda b: test_native_ops.attention(b, 2, 1, 32, 0, 0.0))
    steps: Steps = [
        (test_native_ops.batch(120, at), test_native_ops.random_qkv(rng, 120, 2, 1, 32)) for at in range(0, 1200, 120)
    ]
    last, values = test_native_ops.batch(3, 1200), test_native_ops.random_qkv(rng, 3, 2, 1, 32)
    found, again, wanted = (
        run(made, MemoryWeights(), values, last, before=steps, context=1280, isa=by, threads=threads)[0]
        for by, threads in ((isa, 2), (isa, 3), (None, 1))
    )
    near(found, wanted, 3e-6)
    assert np.array_equal(found, again)


def test_forced_names_select_what_the_processor_can_run(cpu: str, drivers: dict[str, Driver]) -> None:
    asked = [None, "neondot", "neon", "scalar", "avx2", "avxvnni", "avx512vnni", "Neon", ""]
    build_info, report, layout, *selected = drivers[cpu].ask("i", *map(name, asked[:-1]), b"\0")
    dot = "neondot" if BEST[cpu] == "neondot" else ""
    assert [s.decode() for s in selected] == [BEST[cpu], dot, "neon", "scalar", "", "", "", "", ""]
    assert build_info.decode().endswith("aarch64")
    facts = json.loads(report)
    assert facts["chosen"] == BEST[cpu]
    assert facts["variants"] == {"neondot": bool(dot), "neon": True, "scalar": True}
    assert facts["features"] == {"neon": True, "dotprod": bool(dot), "i8mm": cpu == "max"}
    assert layout.decode() == _lib.ffi.string(_lib.lib.eq_abi_layout()).decode()


@pytest.mark.parametrize("fmt", ["Q4_0", "Q6_K", "IQ2_S", "F16"])
def test_the_best_variant_runs_when_none_is_forced(fmt: str, cpu: str, drivers: dict[str, Driver]) -> None:
    """The driver compares the variant that ran with the one forced."""
    driver = drivers[cpu]
    driver.isa = None
    test_native_ops.test_linear(fmt, driver)  # type: ignore[arg-type]
    assert driver.ran == BEST[cpu]


def test_peak_products_are_counted(isa: Driver) -> None:
    """Products of bytes (or int16) and of floats that one step adds up in each of its 12 sums."""
    lanes = {"scalar": (4, 1), "neon": (16, 4), "neondot": (16, 4)}[str(isa.isa)]
    for kind, each, width in zip((0, 1), (6.0, 1.0), lanes, strict=True):
        answer = isa.ask("m", name(isa.isa), struct.pack("<2q", kind, 1001))
        products, total = struct.unpack("<qd", b"".join(answer))
        assert products == 2 * 1001 * 12 * width
        assert total == each * products


def test_a_variant_that_the_processor_lacks_is_refused(drivers: dict[str, Driver]) -> None:
    lone = Driver(*drivers[OLD].command)  # the program ends
    lone.isa = "neondot"
    with pytest.raises(AssertionError, match="ISA neondot: not known, or this processor cannot run it"):
        test_native_ops.test_linear("Q4_0", lone)  # type: ignore[arg-type]


@pytest.mark.parametrize("fmt", LINEAR)
def test_a_variant_gives_the_same_bits_on_every_processor(fmt: str, drivers: dict[str, Driver]) -> None:
    """The scalar one also on the machine that the tests run on."""
    rng = np.random.default_rng(20)
    cols = 2 * max(32, quants.FORMATS[fmt].block)
    made = program(lambda b: test_native_ops.linear(b, 9, cols))
    weights = filled(rng, [("w", (9, cols)), ("b", (9,))], {}, fmt, 1.0)
    x = rng.standard_normal((21, cols)).astype(np.float32)
    for variant, processors in (
        ("scalar", [OLD, None]),
        ("neon", [OLD, NEW, "max"]),
        ("neondot", [NEW, "max"]),
    ):
        for tokens in (1, 5, 21):
            out = []
            for cpu in processors:
                if cpu is not None:
                    drivers[cpu].isa = variant
                runner = variant if cpu is None else drivers[cpu]
                out.append(run(made, weights, [x[:tokens]], test_native_ops.batch(tokens), isa=runner)[0])
            assert all(np.array_equal(o, out[0]) for o in out)


def test_encoders_write_the_same_bytes_on_every_processor(isa: Driver) -> None:
    """As the library on the machine that the tests run on."""
    x, w = np.concatenate([make()[:1] for make in ARRAYS.values()]), importance(512)
    x = x[:, :256] if isa.isa == "scalar" else x  # which takes its time
    for fmt in ENCODED:
        for weights in (None, w[: x.shape[1]]):
            sizes = struct.pack("<3q", quants.FORMATS[fmt].id, *x.shape)
            scaled = b"" if weights is None else (weights / weights.max()).astype(np.float32).tobytes()
            status, blocks = isa.ask("e", name(isa.isa), sizes, np.ascontiguousarray(x).tobytes(), scaled)
            assert status == bytes(4)
            assert blocks == quants.quantize(x, fmt, weights).tobytes(), fmt


@pytest.mark.parametrize("cpu", [OLD, NEW])
def test_no_kernel_leaves_its_buffers(cpu: str, programs: dict[str, Path], qemu: str) -> None:
    command = [qemu, "-cpu", cpu, str(programs["exact_buffers"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = dict(line.split() for line in done.stdout.splitlines())
    assert list(passed) == (["neondot"] if cpu == NEW else []) + ["neon", "scalar"]
    assert min(map(int, passed.values())) > 500


def test_weights_of_every_format_fit_a_byte() -> None:
    """What simd/arm.h relies on."""
    rng = np.random.default_rng(21)
    for fmt in LINEAR:
        if quants.FORMATS[fmt].block > 1:
            blocks = rng.integers(0, 256, (4000, quants.FORMATS[fmt].nbytes), dtype=np.uint8)
            w = quants.unpack(blocks, fmt)[0]
            assert w.min() >= -128
            assert w.max() <= 127


@pytest.mark.parametrize("fmt", LINEAR)
def test_dequantize(fmt: str, drivers: dict[str, Driver]) -> None:
    f = quants.FORMATS[fmt]
    rng = np.random.default_rng(f.id)
    for blocks in (random_blocks(rng, fmt, 3, 4 * max(f.block, 32)),
                   rng.integers(0, 256, (5, 60 * f.nbytes), dtype=np.uint8)):  # fmt: skip
        rows, cols = len(blocks), blocks.shape[1] // f.nbytes * f.block
        shape = {"nbytes": blocks.nbytes, "rows": rows, "cols": cols, "type": f.id}
        header = _lib.ffi.new("eq_tensor *", shape)
        status, values = drivers[OLD].ask("d", bytes(_lib.ffi.buffer(header)), blocks.tobytes())
        assert struct.unpack("<i", status) == (0,)
        same_bits(np.frombuffer(values, np.float32), quants.dequantize(blocks, fmt).reshape(-1))


def same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal bits, where any NaN equals any other."""
    kind = {2: np.uint16, 4: np.uint32}[wanted.itemsize]
    nan = np.isnan(wanted)
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found.view(kind)[~nan], wanted.view(kind)[~nan])


def test_halves(drivers: dict[str, Driver]) -> None:
    rng = np.random.default_rng(22)
    x = rng.integers(0, 2**32, 2**17, dtype=np.uint32)
    x[: 2**16] = x[: 2**16] & 0x3FFFFFFF | 0x33000000  # around the range of fp16
    special = np.array([0, -0.0, 65504, 65520, 2**-24, 2**-25, np.inf, -np.inf], np.float32)
    floats = np.concatenate([x.view(np.float32), special])
    f16, bf16, every = drivers[OLD].ask("h", floats.tobytes())
    with np.errstate(over="ignore", invalid="ignore"):
        same_bits(np.frombuffer(f16, np.float16), floats.astype(np.float16))
    codes = np.arange(2**16, dtype=np.uint16)
    same_bits(np.frombuffer(every, np.float32), codes.view(np.float16).astype(np.float32))
    bits = floats.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    kept = ~np.isnan(floats)
    assert np.array_equal(np.frombuffer(bf16, np.uint16)[kept], nearest[kept])


def test_scan_of_strings(drivers: dict[str, Driver]) -> None:
    rng = np.random.default_rng(23)
    strings = [rng.bytes(int(n)) for n in rng.integers(0, 40, 300)]
    whole = b"".join(struct.pack("<Q", len(s)) + s for s in strings)
    for data in (whole, whole[:-1], whole[:1000], whole[:7], b"", struct.pack("<Q", 2**64 - 1) + b"x" * 20):
        found, ends = drivers[OLD].ask("s", struct.pack("<q", 300), data)
        assert np.frombuffer(ends, np.uint32).tolist() == scan_python(data, 0, 300).tolist()
        assert struct.unpack("<q", found)[0] == len(ends) // 4
