"""edgeq: run, make and prove GGUF models on the machine you have.

    import edgeq
    model = edgeq.load("model.gguf")
    for piece in model.generate("Why is the sky blue?"): print(piece, end="")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq import errors, gguf, tokenizer
    from edgeq.model import Model, load
    from edgeq.sampling import Sampling

__all__ = ["Model", "Sampling", "errors", "gguf", "load", "tokenizer"]

_HOMES = {"Model": "edgeq.model", "load": "edgeq.model", "Sampling": "edgeq.sampling"}


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that `import edgeq` costs nothing."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"edgeq.{name}")
    raise AttributeError(f"module 'edgeq' has no attribute {name!r}")
