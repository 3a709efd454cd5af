"""Hugging Face checkpoints to GGUF.

    report = convert("SmolLM2-135M", "smollm2.gguf", kind="q8_0")

A checkpoint's folder is read (`checkpoint`, `safetensors`), its architecture found (`families`), quantized weights are
understood (`prequantized`), every tensor gets a source and a format (`plan`), the tokenizer's files become keys
(`vocab`), and all of it is written in one stream (`output`). Nothing of a checkpoint is ever executed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.convert.checkpoint import Checkpoint
    from edgeq.convert.output import Error, Told
    from edgeq.convert.plan import Plan
    from edgeq.gguf import Value
    from edgeq.gguf.reader import StrPath
    from edgeq.quantize.importances import Importances

__all__ = ["Report", "convert", "prepare", "write"]


class Report(Record):
    """What was done, or with a dry run would be. `errors`: by tensor, what the import of quantized weights cost;
    `notes`: what could not be kept, and every fallback; what makes a model worse begins with "warning: "; `sources`:
    files read beside the checkpoint's."""

    target: str
    architecture: str
    plan: Plan
    metadata: dict[str, Value]
    notes: list[str]
    errors: dict[str, Error]
    checkpoint: Checkpoint
    sources: tuple[StrPath, ...] = ()


def prepare(
    folder: str | Path,
    target: str | Path,
    kind: str = "auto",
    *,
    importance: Importances | None = None,
    importance_file: str | Path = "",
    name: str | None = None,
    context: int | None = None,
    vocab_only: bool = False,
) -> Report:
    """Everything but the writing: all checks that need no weight. Arguments and errors are those of `convert`."""
    from edgeq.convert import families, metadata
    from edgeq.convert.checkpoint import Checkpoint, model_config
    from edgeq.convert.mixed import apply, mix_of
    from edgeq.convert.plan import Plan, plan
    from edgeq.convert.vocab import vocabulary
    from edgeq.gguf import Value
    from edgeq.quantize import importances

    if name is not None:
        metadata.check_name(name)
    mix = mix_of(kind)
    if importance is not None and mix is None:
        raise UsageError(f"type {kind}: rounds all columns alike, so importances change nothing; take a mix, as Q4_K_M")
    checkpoint = Checkpoint(folder)
    family = families.find(checkpoint.config)
    h = family.hparams(model_config(checkpoint.config))
    own = family.metadata(h, context)
    metadata.check(own, family.arch)
    found = Plan([], "", []) if vocab_only else plan(checkpoint, family, h, "auto" if mix else kind)
    if mix:
        arch = {"general.architecture": Value("string", family.arch)}
        found = apply(found, own | arch, mix, importance, str(folder))
    notes = [*found.notes, *family.warn(h), *family.rope(h).warnings]
    if context is not None and context > h.context:
        notes.append(f"--context {context}: the model was made for {h.context}")
    tokens, more = vocabulary(checkpoint, h.vocab)
    weights = sum(math.prod(item.shape) for item in found.items)
    keys = metadata.general(checkpoint, family.arch, name, weights)
    keys |= own
    keys |= metadata.file_type((i.format, i.nbytes) for i in found.items if len(i.shape) > 1)
    if mix:
        keys["general.file_type"] = Value("u32", mix.file_type)
    if importance is not None:
        keys |= importances.metadata(importance, str(importance_file))
    keys |= tokens
    notes += more + [f"{item.name}: {item.note}" for item in found.items if item.note]
    return Report(str(target), family.arch, found, keys, notes, {}, checkpoint, (importance_file,))


def convert(
    folder: str | Path,
    target: str | Path,
    kind: str = "auto",
    *,
    importance: Importances | None = None,
    importance_file: str | Path = "",
    name: str | None = None,
    context: int | None = None,
    vocab_only: bool = False,
    overwrite: bool = False,
    told: Told | None = None,
) -> Report:
    """Converts the checkpoint in `folder` to the GGUF file `target`.

    kind: "auto" leaves floats what they are and takes quantized weights over where a format holds their whole numbers;
    others, FP8 among them, are dequantized exactly (in float32) and stored in the float type that config.json names
    (dtype; F16 without one), which rounds. F32 (which does not), F16, BF16, Q8_0: the format of all matrices; or a
    mix of `edgeq.quantize`.
    importance: an importance matrix (`edgeq.imatrix.load`) for the roundings of a mix, read from importance_file.
    name, context: instead of the checkpoint's. told: called with each tensor and the bytes of it that were written.

    The target appears whole or not at all. Raises UsageError for arguments, FormatError for broken files, ModelError
    for a model that edgeq does not convert or weights that are not finite, TokenizerError for its vocabulary."""
    report = prepare(
        folder, target, kind, importance=importance, importance_file=importance_file, name=name, context=context,
        vocab_only=vocab_only,
    )  # fmt: skip
    return write(report, overwrite, told)


def write(report: Report, overwrite: bool = False, told: Told | None = None) -> Report:
    """Writes what `prepare` planned; gives the report with its `errors`, and warnings of the largest."""
    from edgeq.convert.output import losses
    from edgeq.convert.output import write as write_file

    items = report.plan.items
    more: dict[str, Any] = {} if told is None else {"told": told}
    errors = write_file(
        report.checkpoint, report.target, report.metadata, items, overwrite, sources=report.sources, **more
    )
    return report.replace(errors=errors, notes=[*report.notes, *losses(items, errors)])
