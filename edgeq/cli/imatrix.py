"""`edgeq imatrix`: collects importance matrices, merges and converts them, and shows what is in them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from edgeq import imatrix, registry
from edgeq.cli.run import piped
from edgeq.cli.show import many
from edgeq.cli.show import table as lines
from edgeq.cli.terminal import Out, interrupted, say
from edgeq.errors import UsageError, shown
from edgeq.imatrix import files
from edgeq.imatrix.matrix import CHUNK_SIZE

if TYPE_CHECKING:
    from edgeq.imatrix import Collector, ImportanceMatrix, Statistics

Told = Callable[[int, int], object]
COLLECTING = ("chunks", "from_chunk", "output_weight", "parse_special", "save_frequency", "threads")  # options
TEXT_MAX = 256 << 20  # bytes of a text; so many would run for weeks
WRITING = ("output", "output_format", "overwrite")


@click.command(
    epilog="MODEL has to be the model that will be quantized, as exact as it is at hand: F16 or BF16 if they fit. "
    "Both formats are llama.cpp's; llama-quantize reads what is written here, and here its files are read."
)
@click.argument("model", required=False)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--output", "-o", metavar="OUT", help="File to write.")
@click.option(
    "--output-format", type=click.Choice(files.FORMATS), help="Format of OUT; by its name (.dat) if this is not given."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--chunk-size", type=click.IntRange(1, 1 << 20), metavar="N",
              help="Tokens of a chunk [512]; also of those chunks that a .dat file counts.")  # fmt: skip
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Run at most N chunks.")
@click.option("--from-chunk", type=click.IntRange(0), metavar="N", help="Leave out the first N chunks.")
@click.option("--output-weight", is_flag=True, help="Also for the weight of the logits.")
@click.option("--parse-special", is_flag=True, help="Text that spells a special token becomes that token.")
@click.option("--save-frequency", type=click.IntRange(1), metavar="N", help="Write OUT after every N chunks already.")
@click.option("--merge", multiple=True, metavar="FILE", help="Add this matrix; several times for several.")
@click.option("--convert", metavar="FILE", help="Write the matrix in FILE to OUT in the other format.")
@click.option("--show", metavar="FILE", help="Show statistics of the matrix in FILE.")
@click.option("--threads", "-t", type=click.IntRange(1), metavar="N", help="Threads; as many as are useful.")
@click.option("--json", "as_json", is_flag=True, help="Print statistics as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(model: str | None, texts: tuple[str, ...], **options: Any) -> None:
    """Run MODEL over text files (- is stdin; without any, over a text of many languages, code and mathematics that
    comes with edgeq), and write to OUT how large the inputs of its weights are on average.

    Without a model, --merge A B -o OUT adds matrices up, --convert and --show work on one."""
    if options["show"] or options["convert"]:
        _alone(model, options)
    elif model is not None and options["merge"] and _is_matrix(model):
        _merge([*options["merge"], model, *texts], options)
    elif model is None:
        if not options["merge"]:
            raise UsageError("MODEL is missing: the GGUF file of a model; or --merge, --convert or --show")
        _merge(options["merge"], options)
    else:
        _collect(model, texts, options)


def _alone(model: str | None, options: dict[str, Any]) -> None:
    """--show and --convert, which take one file and no model."""
    if model is not None or options["merge"] or (options["show"] and options["convert"]):
        raise UsageError("--show and --convert take one file each, and go with no MODEL, no text and no --merge")
    _refuse("no model is run", COLLECTING, options)
    if options["show"]:
        _refuse("--show writes no file", WRITING, options)
    _check_chunk_size([options["show"] or options["convert"]], options)
    matrix = imatrix.load(options["show"] or options["convert"], options["chunk_size"])
    if options["convert"]:
        _write(matrix, options)
        return
    found = imatrix.statistics(matrix)
    told = [json.dumps(as_facts(matrix, found), indent=1)] if options["as_json"] else table(matrix, found)
    Out().write("\n".join(told) + "\n")
    for warning in found.warnings:
        say(f"warning: {warning}")


def _refuse(why: str, names: Sequence[str], options: dict[str, Any]) -> None:
    """UsageError for options that say nothing here."""
    if given := [f"--{name.replace('_', '-')}" for name in names if options[name] not in (None, False)]:
        raise UsageError(f"{', '.join(given)}: of no use, as {why}; leave it out")


def _check_chunk_size(paths: Sequence[str], options: dict[str, Any]) -> None:
    """UsageError for a chunk size where no file needs it."""
    if options["chunk_size"] and all(map(files.is_gguf, paths)):
        raise UsageError("--chunk-size: of no use, as a GGUF file says how long its chunks are; leave it out")


def _is_matrix(path: str) -> bool:
    """Whether a file is a matrix and no model."""
    if not os.path.isfile(path):
        return False
    if not files.is_gguf(path):
        return True
    from edgeq import gguf

    with gguf.open(path) as file:
        return bool(file.metadata.get("general.type") == "imatrix")


def _merge(paths: Sequence[str], options: dict[str, Any]) -> None:
    """--merge without a model to run."""
    _refuse("no model is run", COLLECTING, options)
    _check_chunk_size(paths, options)
    _write(_merged(paths, options), options)


def _merged(paths: Sequence[str], options: dict[str, Any]) -> ImportanceMatrix:
    """The matrices of all files in one."""
    return _sum([(p, imatrix.load(p, options["chunk_size"])) for p in paths])


def _sum(named: Sequence[tuple[str, ImportanceMatrix]]) -> ImportanceMatrix:
    """Matrices by what they are called, in one; a warning of each that lacks weights that others have."""
    names = dict.fromkeys(name for _, matrix in named for name in matrix.entries)
    for called, matrix in named:
        if gone := [name for name in names if name not in matrix.entries]:
            say(f"warning: {shown(called)}: no entry for {len(gone)} of the {len(names)} weights that others have, "
                f"from {shown(gone[0])} on; is it of the same model?")  # fmt: skip
    return imatrix.merge([matrix for _, matrix in named])


def _output(options: dict[str, Any]) -> str:
    if not options["output"]:
        raise UsageError("-o OUT is missing: the file to write")
    return str(options["output"])


def _write(matrix: ImportanceMatrix, options: dict[str, Any]) -> None:
    sources = [f for f in (options["convert"], *options["merge"]) if f]
    out = _output(options)
    matrix.save(out, options["output_format"], overwrite=options["overwrite"], sources=sources)
    found = imatrix.statistics(matrix)
    if options["as_json"]:
        Out().write(json.dumps(as_facts(matrix, found), indent=1) + "\n")
    say(f"wrote {shown(out)}: {_summary(matrix)}")
    for warning in found.warnings:
        say(f"warning: {warning}")


def _collect(name: str, texts: tuple[str, ...], options: dict[str, Any]) -> None:
    from edgeq.gguf.partfile import PartFile, check_target
    from edgeq.model import load

    out, size = _output(options), options["chunk_size"] or CHUNK_SIZE
    earlier = _merged(options["merge"], options) if options["merge"] else None
    path = str(registry.resolve(name))
    check_target(out, options["overwrite"], (path, *options["merge"], *texts))  # before the work, not after it
    PartFile(out, 0).discard()  # tells of a folder that is missing or takes no files
    data, names = _texts(texts)
    saved = 0

    def after(collector: Collector, done: int, total: int) -> None:
        nonlocal saved
        told(done, total)
        if options["save_frequency"] and done % options["save_frequency"] == 0 and done < total:
            so_far = collector.matrix(names)
            both = imatrix.merge([so_far, earlier]) if earlier else so_far
            both.save(out, options["output_format"], overwrite=True)
            options["overwrite"], saved = True, done  # it is ours now

    def left() -> str:
        return f"{shown(out)} holds the first {many(saved, 'chunk')}" if saved else "no incomplete file is left"

    with (
        interrupted(left),
        load(path, threads=options["threads"], context=size) as model,
        _progress(shown(out, 60), options) as told,
    ):
        new = imatrix.collect(
            model, data, size, chunks=options["chunks"], from_chunk=options["from_chunk"] or 0,
            output_weight=options["output_weight"], parse_special=options["parse_special"], datasets=names, after=after,
        )  # fmt: skip
    _write(_sum([("what was counted", new), ("--merge", earlier)]) if earlier else new, options)


def _texts(paths: tuple[str, ...]) -> tuple[list[str | bytes], list[str]]:
    """The texts to run, and what they are called in the file."""
    if not paths:
        from edgeq.imatrix import builtin

        return [builtin.text()], [builtin.NAME]
    return [piped() if p == "-" else _read(p) for p in paths], ["stdin" if p == "-" else p for p in paths]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(TEXT_MAX + 1)
    except (OSError, ValueError) as error:
        why = shown(getattr(error, "strerror", None) or error)
        raise UsageError(f"text {shown(path)}: {why}; TEXT is the name of a file, or - for stdin") from None
    if len(data) > TEXT_MAX:
        raise UsageError(f"text {shown(path)}: over {TEXT_MAX >> 20} MiB; give a part of it, some MB are enough")
    return data


@contextmanager
def _progress(label: str, options: dict[str, Any]) -> Iterator[Told]:
    """Told of chunks: a bar with the time left where stderr is a terminal, else nothing."""
    if options["quiet"] or options["as_json"] or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("chunks,"), TimeRemainingColumn(), TextColumn("left"),
                  console=Console(stderr=True), transient=True) as bars:  # fmt: skip
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _summary(matrix: ImportanceMatrix) -> str:
    named = ", ".join(shown(d, 60) for d in matrix.datasets[:3]) + (", …" if len(matrix.datasets) > 3 else "")
    chunks = f"{matrix.chunk_count} chunk{'' if matrix.chunk_count == 1 else 's'} of {matrix.chunk_size} tokens"
    return f"{len(matrix.entries)} weights, {chunks}, from {named or 'a text without a name'}"


def as_facts(matrix: ImportanceMatrix, found: Statistics) -> dict[str, Any]:
    """The statistics as JSON types; see `edgeq.imatrix.TensorStatistics`."""
    return {
        "datasets": matrix.datasets,
        "chunk_count": matrix.chunk_count,
        "chunk_size": matrix.chunk_size,
        "tensors": [{name: getattr(t, name) for name in t.fields} for t in found.tensors],
        "warnings": list(found.warnings),
    }


def table(matrix: ImportanceMatrix, found: Statistics) -> list[str]:
    """The statistics for people, a line to each tensor."""
    head = ["tensor", "columns", "tokens", "mean", "min", "max", "std", "active", "entropy", "top 1 %", "covered"]
    rows = [[shown(t.name, 80), f"{t.matrices} x {t.columns}" if t.matrices > 1 else str(t.columns), f"{t.tokens:.0f}",
             f"{t.mean:.4g}", f"{t.minimum:.3g}", f"{t.maximum:.4g}", f"{t.std:.4g}", f"{t.active:.1%}",
             f"{t.entropy:.2f}", f"{t.concentration:.1%}", f"{t.coverage:.1%}"] for t in found.tensors]  # fmt: skip
    return [_summary(matrix), "", *lines(head, rows, (0,))]
