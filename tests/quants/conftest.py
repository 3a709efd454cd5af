"""Fixtures of the format tests: the C formats built alone, and comparison of floats by their bits."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native/quant"


@pytest.fixture(scope="session")
def compile_formats(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds native/quant and probe.c with these flags; the path of the result."""
    cc = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if cc is None:
        pytest.skip("no C compiler (set CC): the C formats are not tested here")

    def build(name: str, *flags: str) -> Path:
        out = tmp_path_factory.mktemp("formats") / name
        sources = [*map(str, sorted(NATIVE.glob("*.c"))), str(HERE / "probe.c")]
        base = [*cc.split(), "-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]
        subprocess.run([*base, *flags, "-o", str(out), *sources], check=True, capture_output=True, text=True)
        return out

    return build


@pytest.fixture(scope="session")
def lib(compile_formats: Callable[..., Path]) -> ctypes.CDLL:
    """The C formats as a library."""
    lib = ctypes.CDLL(str(compile_formats("formats.so", "-O2", "-fPIC", "-shared")))
    lib.eq_dequantize_row.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    lib.eq_format_group.restype = ctypes.c_void_p
    array_call = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    for name in ("probe_half", "probe_to_half", "probe_bf16", "probe_to_bf16"):
        getattr(lib, name).argtypes = array_call
    lib.probe_groups.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3]
    return lib


@pytest.fixture(scope="session")
def differences() -> Callable[[np.ndarray, np.ndarray], int]:
    """Counts float32 numbers that differ in a bit, where any NaN equals any other."""

    def count(a: np.ndarray, b: np.ndarray) -> int:
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape
        same = np.ascontiguousarray(a).view(np.uint32) == np.ascontiguousarray(b).view(np.uint32)
        return int((~(same | np.isnan(a) & np.isnan(b))).sum())

    return count
