"""Loads the native library, once, when it is first asked for. No NumPy here, and nothing slow.

`lib` and `ffi` are cffi's, from declarations compiled at build time. cffi checks no struct layout in this
mode, so the library says its version and layout, and both are compared before anything is called.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from edgeq.errors import BackendError

ABI = 6  # what eq_abi_version() must answer
NAMES = {"darwin": "libedgeq.dylib", "win32": "libedgeq.dll"}
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_native")

_state: tuple[Any, Any, str | None] | None = None  # lib, ffi, why not


def path() -> str:
    """The library's file: EDGEQ_LIBRARY, or the one that was built with this package."""
    return os.environ.get("EDGEQ_LIBRARY") or os.path.join(FOLDER, NAMES.get(sys.platform, "libedgeq.so"))


def build_info() -> dict[str, Any]:
    """How the library was built (compiler, flags), or why not; empty where nobody tried."""
    import json

    try:
        with open(os.path.join(FOLDER, "build.json"), encoding="utf-8") as file:
            note = json.load(file)
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def available() -> bool:
    """Whether the native library can be used here."""
    return _load()[2] is None


def why_not() -> str | None:
    """Why the native library cannot be used, in one line; None when it can."""
    return _load()[2]


def __getattr__(name: str) -> Any:
    """`lib` and `ffi`. Raises BackendError where there is no usable library."""
    if name not in ("lib", "ffi"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    lib, ffi, reason = _load()
    if reason is not None:
        raise BackendError(f"the native library cannot be used: {reason}")
    globals().update(lib=lib, ffi=ffi)  # the next access is a plain one
    return lib if name == "lib" else ffi


def _load() -> tuple[Any, Any, str | None]:
    global _state
    if _state is None:
        _state = _open()
    return _state


def _open() -> tuple[Any, Any, str | None]:
    file = path()
    if not os.path.exists(file):
        reason = build_info().get("why") or "it was not built; `python native/build.py` builds it in a source tree"
        return None, None, f"{os.path.basename(file)} is missing ({reason})"
    try:
        from edgeq._native._abi import ffi

        # Kept until the process ends: objects that outlive this module still call their destructors in it.
        lib = ffi.dlopen(file, getattr(os, "RTLD_NOW", 0) | getattr(os, "RTLD_NODELETE", 0))
        return lib, ffi, _mismatch(lib, ffi)
    except (ImportError, OSError, AttributeError, SystemError, ValueError) as error:
        return None, None, " ".join(f"{file}: {error}".split())


def _mismatch(lib: Any, ffi: Any) -> str | None:
    """The first difference between the library's own layout and the one this package was built for.

    The library's text has a line per struct: name, size in bytes, then field:offset for its fields.
    """
    version = lib.eq_abi_version()
    if version != ABI:
        return f"{path()} has interface version {version}, this edgeq needs {ABI}; rebuild it"
    for line in ffi.string(lib.eq_abi_layout()).decode("ascii", "replace").splitlines():
        name, size, *fields = line.split()
        try:
            found = ffi.sizeof(name)  # before .fields, which ends the process on an opaque type
            own = {f"{field}:{item.offset}" for field, item in ffi.typeof(name).fields or ()}
        except ffi.error as error:
            return f"{path()}: {name} is unknown to this edgeq ({str(error).splitlines()[0]}); rebuild it"
        wrong = [field for field in fields if field not in own]
        if str(found) != size or wrong:
            there = ", ".join([f"{size} bytes", *wrong])
            return f"{path()}: {name} has another layout ({there}) than this edgeq was built for; rebuild it"
    return None
