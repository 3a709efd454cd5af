"""An adapter: for some weights of a model, the low-rank matrices that are added to them. Reads GGUF adapters.

The layout is that of llama.cpp: general.type is "adapter", adapter.type "lora", adapter.lora.alpha a number; of each
weight two tensors, its name with `.lora_a` [r, in] and `.lora_b` [out, r] behind (row-major shapes); of the embedding
[tokens, width], whose rows are taken and not multiplied, `.lora_a` [tokens, r] and `.lora_b` [width, r].
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeq import gguf, quants
from edgeq.errors import FormatError, ModelError, UsageError, shown
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile, Tensor
    from edgeq.gguf.reader import StrPath

F32 = NDArray[np.float32]

TYPE, KIND, ALPHA = "general.type", "adapter.type", "adapter.lora.alpha"
TOKENS = "adapter.alora.invocation_tokens"  # of adapters that begin to act in the middle of a text
SUFFIXES = (".lora_a", ".lora_b")
FORMATS = {"F32": 0, "F16": 1, "BF16": 32}  # that adapters are written in, with general.file_type of each
EMBEDDING = "token_embd.weight"
LARGEST = float(np.finfo(np.float32).max)


class Pair(Record):
    """The correction of a weight [out, in]: factor · b @ a, with a float32 [r, in] and b float32 [out, r]."""

    a: F32
    b: F32

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """That of the weight."""
        return int(self.b.shape[0]), int(self.a.shape[1])


class Adapter(Record):
    """A low-rank adapter (LoRA: Hu et al. 2021, arXiv 2106.09685): W + scale · alpha / r · B A for each weight W.

    `pairs` are A and B by GGUF name of the weight, `alpha` the numerator of the scale that it was trained with, `files`
    what it was read from."""

    path: str
    architecture: str
    alpha: float
    pairs: Mapping[str, Pair]
    files: tuple[str, ...] = ()

    def factor(self, name: str) -> float:
        """What b @ a of this weight is multiplied by: alpha / r; 1 where alpha is 0, which is that of files without."""
        return self.alpha / self.pairs[name].rank if self.alpha else 1.0

    def check(self, base: GGUFFile) -> None:
        """Raises ModelError unless every pair belongs to a weight of this model."""
        where, found = shown(self.path), base.metadata.get("general.architecture")
        if self.architecture != found:
            raise ModelError(
                f"{where}: an adapter for architecture {shown(self.architecture, 60)!r}, the model {shown(base.path)} "
                f"is {shown(found, 60)!r}; take the model that the adapter was made for"
            )
        shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
        for name, pair in self.pairs.items():
            check_shape(name, pair, shapes, f"{where}: adapter of tensor {shown(name)}", base.path)


def check_shape(name: str, pair: Pair, shapes: Mapping[str, tuple[int, ...]], what: str, model: str) -> None:
    """Raises ModelError unless a weight of this name in the model, with `shapes` by name, has the shape of the pair."""
    if name not in shapes:
        raise ModelError(f"{what}: {_missing(name)}{shown(model)} has no such tensor")
    if pair.shape != shapes[name]:
        raise ModelError(
            f"{what}: made for shape {list(pair.shape)}, the model has {list(shapes[name])}; take the model that the "
            "adapter was made for"
        )


def _missing(name: str) -> str:
    return "its head is the embedding, which has no adapter of its own: " if name == "output.weight" else ""


def read(path: StrPath) -> Adapter:
    """The adapter in a GGUF file, as float32 arrays; the file is closed again.

    Raises GGUFError for a broken file, ModelError for one that is no adapter, or one that edgeq cannot apply."""
    with gguf.open(path) as file:
        where = shown(file.path)
        _check_kind(file, where)
        alpha = file.metadata.get(ALPHA, 0.0)
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
            raise ModelError(f"{where}: metadata key {ALPHA} is {shown(alpha, 40)}; expected a finite number")
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in file.tensors.items():
            stem, suffix = name[:-7], name[-7:]
            if suffix not in SUFFIXES:
                raise ModelError(
                    f"{where}: tensor {shown(name)} is no part of a low-rank adapter; expected names that end with "
                    f"{' or '.join(SUFFIXES)}. edgeq leaves nothing out: it would be another model"
                )
            found.setdefault(stem, {})[suffix] = tensor
        if not found:
            raise ModelError(f"{where}: an adapter without tensors")
        pairs = {name: _pair(name, tensors, where) for name, tensors in found.items()}
        files = tuple(part.path for part in file.parts)
        return Adapter(file.path, str(file.metadata["general.architecture"]), float(alpha), pairs, files)


def _check_kind(file: GGUFFile, where: str) -> None:
    kind = file.metadata.get(TYPE)
    if kind != "adapter":
        found = "is missing" if kind is None else f"is {shown(kind, 40)!r}"
        raise ModelError(f"{where}: no adapter: metadata key {TYPE} {found}, expected 'adapter'")
    if file.metadata.get(KIND) != "lora":
        raise ModelError(f"{where}: adapter of type {shown(file.metadata.get(KIND), 40)!r}; edgeq applies 'lora'")
    if not isinstance(file.metadata.get("general.architecture"), str):
        raise ModelError(f"{where}: metadata key general.architecture is missing; an adapter belongs to one")
    if TOKENS in file.metadata:
        raise ModelError(f"{where}: metadata key {TOKENS}: an adapter that waits for certain tokens; edgeq has none")


def _pair(name: str, tensors: Mapping[str, Tensor], where: str) -> Pair:
    for suffix in SUFFIXES:
        if suffix not in tensors:
            raise ModelError(f"{where}: tensor {shown(name)}{suffix} is missing; the other half of the pair is there")
    a, b = (_floats(tensors[suffix], where) for suffix in SUFFIXES)
    if name == EMBEDDING:
        a, b = b.T, a
    return pair(name, a, b, where)


def pair(name: str, a: F32, b: F32, where: str) -> Pair:
    """The checked pair of a weight. Raises ModelError for shapes that do not fit, no rank, or numbers not finite."""
    what = f"{where}: adapter of tensor {shown(name)}"
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise ModelError(f"{what}: A {list(a.shape)} and B {list(b.shape)}; expected [r, in] and [out, r]")
    if 0 in a.shape or 0 in b.shape:
        raise ModelError(f"{what}: A {list(a.shape)} and B {list(b.shape)}: rank 0; expected at least 1")
    for letter, matrix in (("A", a), ("B", b)):
        if not np.isfinite(matrix).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
            raise ModelError(f"{what}: {letter} has {matrix[row, column]} at [{row}, {column}]; a broken adapter")
    return Pair(a, b)


def halves(name: str, p: Pair) -> tuple[F32, F32]:
    """What files and programs hold of a weight's pair under SUFFIXES: A and B, of the embedding other way round."""
    return (p.b, np.ascontiguousarray(p.a.T)) if name == EMBEDDING else (p.a, p.b)


def _floats(tensor: Tensor, where: str) -> F32:
    if not tensor.format.linear or len(tensor.shape) != 2:
        raise ModelError(
            f"{where}: tensor {shown(tensor.name)}: {tensor.format.name} {list(tensor.shape)}; expected a matrix of "
            "floats (F32, F16, BF16) or of a quantized format"
        )
    data = np.frombuffer(tensor.read(0, tensor.nbytes), np.uint8).reshape(tensor.shape[0], -1)
    with np.errstate(all="ignore"):
        return quants.dequantize(data, tensor.format).reshape(tensor.shape).astype(np.float32, copy=False)


def write(
    adapter: Adapter, target: StrPath, kind: str = "F32", overwrite: bool = False, sources: Iterable[str] = ()
) -> None:
    """Writes the adapter as a GGUF file that llama.cpp reads too, whole or not at all, over none of its own files and
    of `sources`.

    kind: the format of A and B: F32, F16 or BF16. Raises UsageError for others, and where the file cannot be written;
    ModelError for numbers that are too large for it."""
    from edgeq.convert.metadata import QUANTIZATION_VERSION
    from edgeq.convert.naming import title

    fmt = quants.by_name(kind)
    if fmt.name not in FORMATS:
        raise UsageError(f"{kind}: adapters are written as {', '.join(FORMATS)}")
    metadata = {
        "general.architecture": gguf.Value("string", adapter.architecture),
        "general.name": gguf.Value("string", title(os.path.basename(os.path.realpath(adapter.path)))),
        "general.quantization_version": gguf.Value("u32", QUANTIZATION_VERSION),
        TYPE: gguf.Value("string", "adapter"),
        KIND: gguf.Value("string", "lora"),
        ALPHA: gguf.Value("f32", adapter.alpha),
        "general.file_type": gguf.Value("u32", FORMATS[fmt.name]),
    }
    rows = [(name + suffix, x) for name, p in adapter.pairs.items() for suffix, x in zip(SUFFIXES, halves(name, p))]
    infos = [(n, x.shape, fmt) for n, x in rows]
    with gguf.Writer(target, metadata, infos, overwrite=overwrite, sources=[*adapter.files, *sources]) as writer:
        for name, half in rows:
            try:
                writer.write(name, quants.quantize(half, fmt))
            except FormatError as error:
                raise ModelError(f"tensor {shown(name)}: {error}; use --type f32") from None


Scaled = Sequence[tuple[Adapter, float]]
"""Adapters, each with the scale that the user gives it."""


def scale_of(scale: Any) -> float:
    """The scale of an adapter. Raises UsageError unless it is a finite number."""
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
        raise UsageError(f"scale of an adapter: {shown(scale, 40)}; expected a finite number")
    return float(scale)


def stack(adapters: Scaled) -> dict[str, Pair]:
    """One pair for each weight that is the sum of all its corrections, scales and alphas in its b: their a below, their
    b beside each other. Raises ModelError if a scaled number, or b @ (a @ x) for an x of numbers up to 1, can be too
    large for float32."""
    found: dict[str, list[tuple[F32, F32]]] = {}
    for adapter, scale in adapters:
        for name, p in adapter.pairs.items():
            factor = scale * adapter.factor(name)
            with np.errstate(over="ignore", invalid="ignore"):
                b = np.multiply(p.b, factor, dtype=np.float64).astype(np.float32)
            # What comes out is at most a sum of in · r products; inputs, which norms give, are of a size of about 1.
            most = float(np.abs(b).max(initial=0.0)) * float(np.abs(p.a).max(initial=0.0)) * p.a.size
            if not most <= LARGEST:  # or NaN
                raise ModelError(
                    f"{shown(adapter.path)}: adapter of tensor {shown(name)}: times {factor:g} its numbers or their "
                    "products are too large for float32; take a smaller scale"
                )
            found.setdefault(name, []).append((p.a, b))
    return {
        name: Pair(np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts], axis=1))
        for name, parts in found.items()
    }
