"""Makes the helpers importable in every import mode of pytest, and offers the native scanner."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def scan_library(tmp_path_factory: pytest.TempPathFactory) -> types.ModuleType:
    """A stand-in for edgeq._lib with native/scan.c alone, freshly compiled, warnings as errors."""
    import cffi

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "these tests need a C compiler"
    native = HERE.parent.parent / "native"
    target = tmp_path_factory.mktemp("scan") / "scan.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(native / "scan.c"), "-o", str(target)], check=True)
    ffi = cffi.FFI()
    ffi.cdef((native / "scan.h").read_text())
    module = types.ModuleType("edgeq._lib")
    module.available = lambda: True  # type: ignore[attr-defined]
    module.ffi = ffi  # type: ignore[attr-defined]
    module.lib = ffi.dlopen(str(target))  # type: ignore[attr-defined]
    return module


@pytest.fixture(params=["python", "native"])
def scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: with the walk over strings in plain Python, and in C from the first string on."""
    import edgeq
    from edgeq.gguf import arrays

    if request.param == "native":
        module = request.getfixturevalue("scan_library")
        monkeypatch.setattr(arrays, "_NATIVE_FROM", 0)
    else:
        module = types.ModuleType("edgeq._lib")
        module.available = lambda: False
    monkeypatch.setitem(sys.modules, "edgeq._lib", module)
    monkeypatch.setattr(edgeq, "_lib", module, raising=False)
    return str(request.param)
