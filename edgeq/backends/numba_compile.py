"""Compiles kernels when they are first needed, for the processor at hand, or takes them from the cache.

Kernels are plain functions of int64 arguments; what others call is their address. Knows no kernel and no file.
"""

# mypy: disable-error-code="import-untyped,no-untyped-call,misc,unused-ignore"
from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import types
from numba.core import config as numba_config
from numba.core.ccallback import CFunc
from numba.core.codegen import get_host_cpu_features
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from edgeq.backends import numba_cache
from edgeq.errors import BackendError

_COMPILER = ThreadPoolExecutor(1, "edgeq-numba-compiler")
_COMPILED: dict[tuple[str, str], Kernel] = {}


@cache
def host_features() -> frozenset[str]:
    """Features that code is made for, as LLVM names them: of this processor, or what NUMBA_CPU_FEATURES says."""
    config: Any = numba_config
    asked = config.CPU_FEATURES
    text = get_host_cpu_features() if asked is None else asked
    return frozenset(feature[1:] for feature in text.split(",") if feature.startswith("+"))


def check_host() -> None:
    """Raises BackendError on x86 without conversion of half floats: LLVM would call a function that is not there."""
    if "sse2" in host_features() and not {"avx", "f16c"} <= host_features():
        raise BackendError("numba backend: this processor has no F16C; use the backend native or reference")


class Kernel(CFunc):  # type: ignore[misc,unused-ignore]
    """A function with its machine code: `address`; `ctypes` calls it without the GIL; `cache_hits`: it was kept.

    It is what Numba calls a cache for itself. Numba's own notices neither changes of what a kernel calls nor damage,
    and cannot read where it may not write."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        arguments = (types.int64,) * function.__code__.co_argcount
        super().__init__(function, (arguments, types.void), {}, {"error_model": "numpy"})
        self._cache = self
        self.compile()

    @property
    def file(self) -> str:
        """The name of its code in the cache: other code has another name."""
        processor = cpu_target.target_context.codegen().magic_tuple()
        key = f"{processor} {llvmlite.__version__} {numba.__version__} {sys.version} {_sources()}"
        name = f"{self.function.__module__.rpartition('.')[2]}-{self.function.__name__}"
        return f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def load_overload(self, _: Any, context: Any) -> Any:
        context.refresh()
        content = numba_cache.load(self.file)
        try:
            return content and CompileResult._rebuild(context, *pickle.loads(content))
        except Exception:  # whatever it is that was kept, it can be compiled again
            return None

    def save_overload(self, _: Any, made: Any) -> None:
        if not made.library.has_dynamic_globals:  # addresses of this process
            numba_cache.save(self.file, dumps(made._reduce()))


@cache
def _sources() -> str:
    """Changes with whatever kernels are made of."""
    sources = sorted(Path(__file__).parent.glob("numba*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def compiled(function: Callable[..., None]) -> Kernel:
    """The kernel, compiled on a thread of its own: in the main thread Ctrl-C could end in a callback of LLVM, and be
    lost. Whoever waits here can be interrupted; what was begun is finished."""
    key = (function.__module__, function.__name__)
    return _COMPILED.get(key) or _COMPILER.submit(_compiled, key, function).result()


def _compiled(key: tuple[str, str], function: Callable[..., None]) -> Kernel:
    if key not in _COMPILED:
        _COMPILED[key] = Kernel(function)
    return _COMPILED[key]


def address(function: Callable[..., None]) -> int:
    found: Any = compiled(function).address
    return int(found)


def array_address(values: Any) -> int:
    """Where the numbers of a NumPy array lie."""
    return int(values.ctypes.data)


@cache
def yield_address() -> int:
    """The system's function that lets another thread run. It takes no arguments."""
    if os.name == "nt":
        function = ctypes.WinDLL("kernel32").SwitchToThread  # type: ignore[attr-defined,unused-ignore]
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
