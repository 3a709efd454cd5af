"""Compiles kernels when they are first needed, and keeps the machine code in a cache folder between processes.

Kernels are plain functions of int64 arguments; what others call is their address. Owns where the cache lies.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features

from edgeq.errors import BackendError

_LOCK = threading.RLock()
_COMPILED: dict[tuple[str, str], Any] = {}


@cache
def host_features() -> frozenset[str]:
    """Features that code is made for, as LLVM names them: of this processor, or what NUMBA_CPU_FEATURES says."""
    asked = numba_config.CPU_FEATURES  # type: ignore[attr-defined,unused-ignore]
    text = get_host_cpu_features() if asked is None else asked
    return frozenset(feature[1:] for feature in text.split(",") if feature.startswith("+"))


def check_host() -> None:
    """Raises BackendError on x86 without conversion of half floats: LLVM would call a function that is not there."""
    if "sse2" in host_features() and "f16c" not in host_features():
        raise BackendError("numba backend: this processor has no F16C; use the backend native or reference")


def compiled(kernel: Callable[..., None]) -> Any:
    """The function for this processor: a Numba CFunc with `address`; `ctypes` calls it without the GIL."""
    key = (kernel.__module__, kernel.__name__)
    with _LOCK:
        if key not in _COMPILED:
            sig = types.void(*[types.int64] * kernel.__code__.co_argcount)
            folder = cache_folder()
            config: Any = numba_config
            before = config.CACHE_DIR
            config.CACHE_DIR = str(folder or before)  # read when a function is made
            try:
                made = numba.cfunc(sig, error_model="numpy", cache=folder is not None)(kernel)
            finally:
                config.CACHE_DIR = before
            _COMPILED[key] = made
        return _COMPILED[key]


def address(kernel: Callable[..., None]) -> int:
    return int(compiled(kernel).address)


def array_address(values: Any) -> int:
    """Where the numbers of a NumPy array lie."""
    return int(values.ctypes.data)


@cache
def cache_folder() -> Path | None:
    """Where machine code is kept: under NUMBA_CACHE_DIR or the platform's cache folder; None if that cannot be written.

    There is one folder for each state of the sources: Numba itself notices only changes of the file that a kernel
    stands in, and not of the parts that the kernel calls."""
    import platformdirs

    sources = sorted(Path(__file__).parent.glob("numba*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    base = os.environ.get("NUMBA_CACHE_DIR") or Path(platformdirs.user_cache_dir("edgeq", appauthor=False)) / "numba"
    folder = Path(base) / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


@cache
def yield_address() -> int:
    """The system's function that lets another thread run. It takes no arguments."""
    if os.name == "nt":
        function = ctypes.WinDLL("kernel32").SwitchToThread  # type: ignore[attr-defined,unused-ignore]
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
