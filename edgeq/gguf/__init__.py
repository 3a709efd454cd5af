"""The GGUF container: a strict reader with zero-copy tensors, a streaming writer, and a verifier.

    with gguf.open("model.gguf") as g: g.metadata["general.name"]; g.tensors["output.weight"].data
    with gguf.Writer("new.gguf", metadata, tensors) as w: w.write(name, data)
    gguf.copy(source, target); gguf.verify(path); gguf.edit(path, set={"general.name": "other"})
    gguf.hash_tensors(path).all; gguf.compare(a, b).differ

What the weights mean is edgeq.quants' affair, what the metadata means the model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.gguf.arrays import NumberArray, StringArray
from edgeq.gguf.header import TensorInfo
from edgeq.gguf.metadata import Metadata, Value
from edgeq.gguf.part import Part
from edgeq.gguf.reader import GGUFFile, Tensor, open

if TYPE_CHECKING:
    from edgeq.gguf.checks import Finding, verify
    from edgeq.gguf.comparing import Comparison, compare
    from edgeq.gguf.copying import copy, merge_model, split_model, write
    from edgeq.gguf.editing import Change, Edit, edit
    from edgeq.gguf.extracting import extract
    from edgeq.gguf.hashing import Hashes, hash_tensors
    from edgeq.gguf.writer import Writer, tensor_info

__all__ = [
    "Change", "Comparison", "Edit", "Finding", "GGUFFile", "Hashes", "Metadata", "NumberArray", "Part", "StringArray",
    "Tensor", "TensorInfo", "Value", "Writer", "compare", "copy", "edit", "extract", "hash_tensors", "merge_model",
    "open", "split_model", "tensor_info", "verify", "write",
]  # fmt: skip

_LATER = {
    "Writer": "writer", "copy": "copying", "write": "copying", "split_model": "copying", "merge_model": "copying",
    "Finding": "checks", "verify": "checks", "Change": "editing", "Edit": "editing", "edit": "editing",
    "Hashes": "hashing", "hash_tensors": "hashing", "Comparison": "comparing", "compare": "comparing",
    "extract": "extracting", "tensor_info": "writer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names that reading does not need are imported when first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
