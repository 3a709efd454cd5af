"""Importance matrices: how large the inputs of each weight are on average, so that a quantizer spares what matters.

    matrix = imatrix.collect(model, [text])            # with edgeq's own runtime
    matrix.save("model.imatrix.gguf"); imatrix.load(path).importance("blk.0.attn_q.weight", 1, 576)
    imatrix.merge([a, b]); imatrix.statistics(matrix).warnings

Files are llama.cpp's, of both formats (GGUF and .dat). Only `collect` needs a model; reading and writing need no
native library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.imatrix.collecting import Collector, collect
    from edgeq.imatrix.files import load
    from edgeq.imatrix.matrix import Entry, ImportanceMatrix, merge
    from edgeq.imatrix.stats import Statistics, TensorStatistics, statistics

__all__ = [
    "Collector", "Entry", "ImportanceMatrix", "Statistics", "TensorStatistics", "collect", "load", "merge",
    "statistics",
]  # fmt: skip

_PLACES = {
    "Collector": "collecting", "collect": "collecting", "load": "files", "Entry": "matrix",
    "ImportanceMatrix": "matrix", "merge": "matrix", "Statistics": "stats", "TensorStatistics": "stats",
    "statistics": "stats",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for: who reads a file needs no model."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
