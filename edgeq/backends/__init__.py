"""Backends by name: the built-in ones, and those of other packages (entry point group `edgeq.backends`)."""

from __future__ import annotations

import importlib
from typing import Any

from edgeq.backends.base import Backend
from edgeq.errors import BackendError

BUILT_IN = {
    "native": ("edgeq.backends.native", "NativeBackend"),
    "numba": ("edgeq.backends.numba", "NumbaBackend"),
    "reference": ("edgeq.backends.reference", "ReferenceBackend"),
}
GROUP = "edgeq.backends"


def names() -> list[str]:
    """All backends that can be asked for; not all of them need to work here."""
    return [*BUILT_IN, *(entry.name for entry in _entries() if entry.name not in BUILT_IN)]


def find(name: str | None = None) -> Backend:
    """A new instance of a backend; None: native where its library works, else numba. Raises BackendError otherwise."""
    if name is None:
        from edgeq import _lib

        name = "native" if _lib.available() else "numba"
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        try:
            made: Backend = getattr(importlib.import_module(module), attribute)()
        except ImportError as error:
            raise BackendError(f"backend {name}: {error}; `pip install {error.name}` may help") from None
        return made
    for entry in _entries():
        if entry.name == name:
            return _load(entry)
    raise BackendError(f"backend {name!r} is not known; there are {', '.join(names())}")


def _load(entry: Any) -> Backend:
    try:
        made: Backend = entry.load()()
    except Exception as error:
        raise BackendError(f"backend {entry.name} of {entry.value} does not load: {error!r}") from error
    return made


def _entries() -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))
