"""Low-rank adapters (LoRA: Hu et al. 2021, arXiv 2106.09685): reading, converting from PEFT, merging into a model.

    a = lora.open("adapter.gguf")        a.alpha, a.pairs["blk.0.attn_q.weight"].a    float32 [r, in]

`edgeq.load(model, lora=[...])` runs them beside the quantized weights of a model, which stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError, shown
from edgeq.lora.adapter import Adapter, Pair, Scaled, halves, read, scale_of, stack

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile
    from edgeq.gguf.reader import StrPath

    Source = str | os.PathLike[str] | Adapter
    Lora = Source | Sequence[Source | tuple[Source, float]]

__all__ = ["Adapter", "Pair", "convert", "halves", "load_all", "open", "scale_of", "stack"]


def open(path: StrPath) -> Adapter:
    """The adapter in a GGUF file, as llama.cpp's converter and `edgeq convert` write them.

    Raises GGUFError for a broken file, ModelError for one that is no adapter or one that edgeq cannot apply."""
    return read(path)


def load_all(given: Lora, base: GGUFFile) -> Scaled:
    """Adapters for the model `base`, read and checked, each with its scale, 1 if none is given.

    Raises what `open` raises, ModelError for adapters of other models, UsageError for arguments that are none."""
    return [(_loaded(source, base), scale_of(scale)) for source, scale in map(_with_scale, _listed(given))]


def _listed(given: Any) -> list[Any]:
    if isinstance(given, (str, os.PathLike, Adapter)):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise UsageError(f"lora: expected adapters, found {type(given).__name__}") from None


def _with_scale(entry: Any) -> tuple[Any, Any]:
    if isinstance(entry, tuple) and len(entry) == 2:
        return entry
    return entry, 1.0


def _loaded(source: Any, base: GGUFFile) -> Adapter:
    if not isinstance(source, (str, os.PathLike, Adapter)):
        raise UsageError(f"lora: expected a file, or (file, scale), found {shown(source, 60)!r}")
    adapter = source if isinstance(source, Adapter) else _read(source, base)
    adapter.check(base)
    return adapter


def _read(source: str | os.PathLike[str], base: GGUFFile) -> Adapter:
    """The adapter of a file or of a folder of PEFT's."""
    if not os.path.isdir(source):
        return open(source)
    from edgeq.lora import peft

    return peft.read(os.fspath(source), peft.base_of_file(base))


def convert(
    folder: str | os.PathLike[str], target: StrPath, base: str | os.PathLike[str], kind: str = "F32", *,
    overwrite: bool = False,
) -> Adapter:  # fmt: skip
    """Converts the PEFT adapter in `folder` to the GGUF file `target`, and gives what is in it.

    base: the model that it was made for, a GGUF file or a checkpoint's folder; nothing but its metadata is read. kind:
    F32, F16 or BF16. Raises UsageError for arguments, FormatError for broken files, ModelError for what is no low-rank
    sum (DoRA, trained biases or layers, …) or does not belong to the base."""
    from edgeq.lora import peft
    from edgeq.lora.adapter import write

    model = peft.find_base(os.fspath(base))
    adapter = peft.read(os.fspath(folder), model)
    write(adapter, target, kind, overwrite, model.files)
    return adapter
