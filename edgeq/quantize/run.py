"""A GGUF model in another mix of formats: reads a tensor, encodes it, writes it, and says what that cost."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgeq import gguf, machine
from edgeq._version import __version__
from edgeq.errors import GGUFError, ModelError, UsageError, check_count, shown
from edgeq.gguf import Value, Writer
from edgeq.gguf.split import KEYS as SPLIT_KEYS
from edgeq.quantize import importances
from edgeq.quantize.finite import checked
from edgeq.quantize.mixes import COPY
from edgeq.quantize.plan import FLOATS, Choice, Options, check_recipe, idle, make_plan, mix_or_copy
from edgeq.quantize.roles import is_multiplied
from edgeq.quantize.stream import Job, Loss, count, losses, pieces
from edgeq.quants import native
from edgeq.record import Record

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile
    from edgeq.gguf.reader import StrPath
    from edgeq.quantize.importances import Importances
    from edgeq.quants.bits import F32

_OTHERS = {  # kinds of GGUF files
    "imatrix": "an importance matrix, which goes with --imatrix",
    "adapter": "an adapter, which edgeq lora merge puts in a model",
}
Progress = Callable[[int, int, str], None]  # bytes of the source done, of all, the tensor now at work


class Result(Record):
    """A tensor of the new file: what was chosen, whether it had importances, what it lost (of a sample of its rows)."""

    choice: Choice
    weighted: bool
    loss: Loss


class Report(Record):
    """What `quantize` did, or with `dry_run` would do. `missing`: tensors that the importance matrix does not know;
    `requantized`: those that had lost something before; `notes`: what is odd about the arguments, in sentences."""

    paths: tuple[str, ...]
    mix: str
    results: tuple[Result, ...]
    missing: tuple[str, ...]
    requantized: tuple[str, ...]
    notes: tuple[str, ...]


def quantize(
    source: StrPath,
    target: StrPath,
    type: str,
    *,
    importance: Importances | None = None,
    importance_file: StrPath = "",
    recipe: str = "llama.cpp",
    options: Options | None = None,
    allow_requantize: bool = False,
    keep_split: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Writes the model `source` with the mix `type` as `target`; the source is only read.

    `type` can be COPY, for every tensor as it is. Tensors are read, encoded and written piece by piece, so memory does
    not depend on the model. The file appears when it is complete. With `resume` an interrupted run leaves what it has
    done beside the target, and the next one with the same arguments goes on from there. `dry_run` writes nothing, and
    estimates the loss from rows spread over each tensor.
    UsageError for arguments that make no sense, FormatError naming the tensor for weights that are not finite,
    ModelError for a source that is no model, GGUFError for one that is broken or changes, or a disk that is full.
    """
    check_recipe(recipe)
    threads = check_count("threads", threads)
    name, mix = mix_or_copy(type)
    if mix is COPY and options is not None and options.replace(keep_output=False) != Options():
        raise UsageError("type COPY: keeps every tensor as it is; leave out the options that name formats, and pure")
    threads = threads or machine.threads_to_use()
    with gguf.open(source) as g:
        _check_model(g)
        plan = make_plan(g.tensors.values(), g.metadata, mix, options, importance is not None)
        requantized = _check_sources(g, plan, allow_requantize)
        weights = importances.find(plan, importance, g.path)
        missing = tuple(c.name for c in plan if c.changes and importance and weights[c.name] is None)
        notes = [*idle(plan, options or Options()), *importances.notes(plan, importance)]
        if keep_split and len(g.parts) == 1:
            notes.append("--keep-split: the source is not split; the result is one file")
        if dry_run:
            with ThreadPoolExecutor(threads) as pool:
                results = tuple(_tried(g, plan, weights, pool, threads))
            return Report((), name, results, missing, requantized, tuple(notes))
        metadata = _metadata(g, plan, mix.file_type, importance, os.fsdecode(importance_file))
        writer = Writer(
            target, metadata, [gguf.tensor_info(c.name, c.shape, c.target) for c in plan],
            overwrite=overwrite, sources=[*(part.path for part in g.parts), importance_file],
            groups=[len(part.header.tensors) for part in g.parts] if keep_split and len(g.parts) > 1 else None,
            resume=_fingerprint(g, plan, weights) if resume else None,
        )  # fmt: skip
        with writer, ThreadPoolExecutor(threads) as pool:
            results = tuple(_written(g, plan, weights, writer, pool, threads, progress))
            if g.changed():
                raise GGUFError(f"{shown(g.path)}: the file was changed while it was read; nothing was written")
        return Report(writer.paths, name, results, missing, requantized, tuple(notes))


def _check_model(g: GGUFFile) -> None:
    """ModelError for a file of another kind, whose numbers are not for rounding, or without tensors."""
    kind = g.metadata.get("general.type")
    if isinstance(kind, str) and kind in _OTHERS:
        raise ModelError(f"{shown(g.path)}: general.type is {kind!r}: {_OTHERS[kind]}; expected a model")
    if not g.tensors:
        raise ModelError(f"{shown(g.path)}: has no tensors; expected a model with its weights")


def _check_sources(g: GGUFFile, plan: list[Choice], allow: bool) -> tuple[str, ...]:
    """Tensors that are quantized already and would be quantized anew."""
    again = tuple(c.name for c in plan if c.changes and c.source.name not in (*FLOATS, "F64"))
    if again and not allow:
        first = g.tensors[again[0]]
        raise UsageError(
            f"tensor {shown(first.name)}: is {first.format.name} already, and {len(again) - 1} others are quantized "
            "too; to quantize again adds a second loss: start from a float file, or use --allow-requantize"
        )
    return again


def _metadata(
    g: GGUFFile, plan: Iterable[Choice], file_type: int, importance: Importances | None, file: str
) -> dict[str, Value]:
    """That of the source, with what llama.cpp says of quantized files. The importance matrix of the source counts as
    long as every tensor is as it was."""
    changed, old = any(c.changes for c in plan), g.metadata.typed().items()
    out = {k: v for k, v in old if k not in SPLIT_KEYS and not (changed and k.startswith("quantize.imatrix."))}
    out["general.quantization_version"] = Value("u32", 2)
    if file_type >= 0:
        out["general.file_type"] = Value("u32", file_type)
    return out if importance is None else out | importances.metadata(importance, file)


def _fingerprint(g: GGUFFile, plan: Iterable[Choice], weights: Mapping[str, F32 | None]) -> str:
    """What an interrupted run must have been about to be gone on with. Encoders of another version or build may round
    in another way, and a file is of one piece."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, w in weights.items():
        hashed.update(name.encode() + (b"" if w is None else w.tobytes()))
    formats = [(c.name, c.target.name) for c in plan]
    return json.dumps([__version__, native.build(), list(map(list, g.fingerprint)), formats, hashed.hexdigest()])


def _written(
    g: GGUFFile, plan: list[Choice], weights: Mapping[str, F32 | None], writer: Writer, pool: ThreadPoolExecutor,
    threads: int, progress: Progress | None,
) -> Iterator[Result]:  # fmt: skip
    """Writes tensor after tensor; those of an earlier run are only looked at again."""
    total, done = sum(c.source_bytes for c in plan), 0
    earlier = writer.done
    made = pieces([_job(g, c, weights) for c in plan[earlier:] if c.changes], pool, threads)
    for i, c in enumerate(plan):
        tensor, w = g.tensors[c.name], weights[c.name]
        if progress and i >= earlier:
            progress(done, total, c.name)
        if i < earlier:
            yield from _tried(g, [c], weights, pool, threads)
        elif not c.changes:
            writer.write(c.name, checked(tensor))
            yield Result(c, False, Loss())
        else:
            loss = Loss()

            def chunks(c: Choice = c, at: int = done) -> Iterator[Any]:
                nonlocal loss
                read = 0
                for piece in islice(made, count(c.shape)):
                    loss += piece.loss
                    yield piece.data
                    read += len(piece.data)
                    if progress:
                        progress(at + read * c.source.row_bytes(c.shape[-1]), total, c.name)

            writer.write(c.name, chunks())
            yield Result(c, w is not None, loss)
        done += c.source_bytes
    if progress:
        progress(total, total, "")


def _job(g: GGUFFile, c: Choice, weights: Mapping[str, F32 | None]) -> Job:
    return Job(g.tensors[c.name], c.target, weights[c.name], is_multiplied(c.name))


def _tried(
    g: GGUFFile, plan: list[Choice], weights: Mapping[str, F32 | None], pool: ThreadPoolExecutor, threads: int
) -> Iterator[Result]:
    """Estimates of what tensors would lose; nothing is written."""
    found = losses([_job(g, c, weights) for c in plan if c.changes], pool, threads)
    for c in plan:
        yield Result(c, weights[c.name] is not None, next(found)) if c.changes else Result(c, False, Loss())
