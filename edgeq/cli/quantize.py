"""`edgeq quantize`: a model in another mix of formats, with a table of what becomes of each tensor."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click

from edgeq.cli.show import alike, many, size
from edgeq.cli.show import table as lines
from edgeq.cli.terminal import Out, interrupted, say
from edgeq.errors import UsageError, shown
from edgeq.quantize import MIXES, Options, Report, Result, mix_or_copy, quantize, summary

LONGEST = 1 << 20  # characters of a file of patterns
_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")  # of the name of a split model's part


@click.command(
    epilog=f"TYPE is one of {', '.join(MIXES)}. A pattern is a regular expression, searched in the names of tensors "
    "in any case of letters; the first that fits counts, those of the command line before those of a file. They count "
    "for F32, F16 and BF16 too, where llama-quantize does not look at them. TYPE can also be the number that "
    "llama-quantize has for a mix, or COPY: every tensor as it is."
)
@click.argument("words", nargs=-1, required=True, metavar="IN [OUT] TYPE")
@click.option("--imatrix", metavar="FILE", help="Importance matrix, as edgeq imatrix or llama.cpp writes it.")
@click.option("--recipe", default="llama.cpp", show_default=True, help="Whose choice of formats.")
@click.option("--tensor-type", "patterns", multiple=True, metavar="PATTERN=TYPE", help="Formats of some tensors.")
@click.option("--tensor-type-file", "pattern_file", metavar="FILE", help="The same, a line or word each.")
@click.option("--output-type", "--output-tensor-type", "output", metavar="TYPE", help="Format of output.weight.")
@click.option("--embedding-type", "--token-embedding-type", "embedding", metavar="TYPE", help="Of the embeddings.")
@click.option("--pure", is_flag=True, help="One format for all matrices.")
@click.option("--leave-output-tensor", "keep_output", is_flag=True, help="Leave output.weight as it is.")
@click.option("--keep-split", is_flag=True, help="Write as many parts as the source has.")
@click.option("--allow-requantize", is_flag=True, help="Quantize what is quantized already, which loses twice.")
@click.option(
    "--dry-run", is_flag=True, help="Show formats, sizes and errors, estimated from rows of each tensor; write nothing."
)
@click.option("--resume", is_flag=True, help="If it is interrupted, leave what is done and go on from it next time.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads; all useful cores otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    words: Sequence[str], imatrix: str | None, recipe: str, patterns: Sequence[str], pattern_file: str | None,
    output: str | None, embedding: str | None, pure: bool, keep_output: bool, keep_split: bool, allow_requantize: bool,
    dry_run: bool, resume: bool, overwrite: bool, threads: int | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Quantize the GGUF model IN to TYPE and write it as OUT, by default beside IN with the type in its name."""
    source, target, kind = _places(words)
    options = Options(_overrides(patterns, pattern_file), output, embedding, pure, keep_output)
    left = "run it again to go on from there" if resume else "no incomplete file is left"
    with interrupted(left), closing(_Progress(quiet or as_json or dry_run)) as progress:
        report = quantize(
            source, target, kind, importance=importances(imatrix), importance_file=imatrix or "", recipe=recipe,
            options=options, allow_requantize=allow_requantize, keep_split=keep_split, overwrite=overwrite,
            resume=resume, dry_run=dry_run, threads=threads, progress=progress,
        )  # fmt: skip
    try:
        if as_json:
            Out().write(json.dumps(facts(report), indent=1) + "\n")
        elif dry_run:
            Out().write("\n".join(table(report)) + "\n")
    finally:  # also where stdout takes no more: the model is written
        for line in notes(report, imatrix):
            say(line)


def _places(words: Sequence[str]) -> tuple[str, str, str]:
    """Source, target and type from two or three words."""
    if len(words) not in (2, 3):
        raise UsageError(f"expected IN [OUT] TYPE, found {len(words)} words")
    source, kind = words[0], mix_or_copy(words[-1])[0]
    stem = _PART.sub("", source.removesuffix(".gguf"))
    return source, words[1] if len(words) == 3 else f"{stem}-{kind}.gguf", kind


def _overrides(patterns: Sequence[str], file: str | None) -> tuple[tuple[str, str], ...]:
    """Pairs of pattern and type: those of the command line, then those of the file."""
    return tuple(_pair(word, "tensor type ") for word in patterns) + (() if file is None else _in_file(file))


def _in_file(file: str) -> tuple[tuple[str, str], ...]:
    try:
        with open(file, encoding="utf-8", errors="strict") as stream:
            text = stream.read(LONGEST + 1)
    except UnicodeDecodeError:
        raise UsageError(f"{shown(file)}: is no UTF-8 text of PATTERN=TYPE words") from None
    except (OSError, ValueError) as error:
        why = shown(getattr(error, "strerror", None) or error)
        raise UsageError(
            f"--tensor-type-file {shown(file)}: {why}; expected the name of a file of PATTERN=TYPE words"
        ) from None
    if len(text) > LONGEST:
        raise UsageError(f"{shown(file)}: over {LONGEST} characters; expected PATTERN=TYPE words")
    places = ((f"{shown(file)}, line {number}: ", line) for number, line in enumerate(text.split("\n"), 1))
    return tuple(_pair(word, where) for where, line in places for word in line.split())


def _pair(word: str, where: str) -> tuple[str, str]:
    """PATTERN=TYPE in two. UsageError, which begins with `where`."""
    name, _, fmt = word.rpartition("=")
    if not name or not fmt:
        raise UsageError(f"{where}{shown(word)}: expected PATTERN=TYPE")
    return name, fmt


def importances(path: str | None) -> Any:
    """The importance matrix in a file, or None without one."""
    if path is None:
        return None
    if not path:
        raise UsageError("--imatrix: expected the name of a file, found ''")
    from edgeq import imatrix

    return imatrix.load(path)


class _Progress:
    """On a terminal a bar over the whole file, named after the tensor at work; elsewhere nothing."""

    def __init__(self, silent: bool) -> None:
        import sys

        from edgeq.pull.progress import Bar, Silent

        self._bar = Silent() if silent or sys.stderr is None or not sys.stderr.isatty() else Bar()
        self._name = ""

    def __call__(self, done: int, total: int, name: str) -> None:
        if not self._name:
            self._bar.start(shown(name, 40), done, total)
        elif name and name != self._name:
            self._bar.name(shown(name, 40))
        self._name = name or self._name
        self._bar.update(done)

    def close(self) -> None:
        self._bar.close()


def facts(report: Report) -> dict[str, Any]:
    """The report as JSON types; `relative_error` is of a sample of `error_rows` rows, and so an estimate."""
    choices = [r.choice for r in report.results]
    return {
        "files": list(report.paths),
        "mix": report.mix,
        **summary(choices),
        "missing_importances": list(report.missing),
        "requantized": len(report.requantized),
        "notes": list(report.notes),
        "tensors": [
            {
                "name": r.choice.name,
                "shape": list(r.choice.shape),
                "from": r.choice.source.name,
                "to": r.choice.target.name,
                "bytes": r.choice.target_bytes,
                "why": r.choice.why or None,
                "fallback_from": r.choice.fallback or None,
                "importance": r.weighted,
                "relative_error": r.loss.relative if r.choice.changes else None,
                "error_rows": r.loss.rows if r.choice.changes else None,
            }
            for r in report.results
        ],
    }


def table(report: Report) -> list[str]:
    """A line for each tensor: name, shape, formats, bytes, error (of some rows alone: with ~), and why it is so."""
    rows = []
    for r in report.results:
        c = r.choice
        loss = f"{'~' * _estimated(r)}{100 * r.loss.relative:.2f} %" if c.changes else ""
        why = f"{c.why} ({c.fallback})" if c.fallback else c.why
        shape, name = " x ".join(map(str, c.shape)), f"{shown(c.name, 80)}  {why}".strip()
        rows.append((shape, c.source.name, c.target.name, size(c.target_bytes), loss, name))
    return lines(("shape", "from", "to", "bytes", "error", "tensor"), rows)


def _again(report: Report) -> str:
    """What tensors lose that had lost something before. The error before is not known: that would take the original."""
    names = set(report.requantized)
    again = [r for r in report.results if r.choice.name in names]
    mean, worst = sum(r.loss.relative for r in again) / len(again), max(again, key=lambda r: r.loss.relative)
    most = f"{100 * worst.loss.relative:.2f} % at most ({shown(worst.choice.name, 80)})"
    were = f"{many(len(again), 'tensor')} {'was' if len(again) == 1 else 'were'} quantized before"
    return f"{were}: their errors add to those named here, {100 * mean:.2f} % of what was stored on average, {most}"


def _estimated(r: Result) -> bool:
    return r.choice.changes and r.loss.rows < math.prod(r.choice.shape[:-1])


def notes(report: Report, imatrix: str | None) -> list[str]:
    """What a person should know: fallbacks, what is missing, and what came out."""
    choices = [r.choice for r in report.results]
    out = list(report.notes)
    moved = alike((c.name, f"{c.why}: {c.target.name} instead of {c.fallback}") for c in choices if c.fallback)
    out += [f"{many(n, 'tensor')}: {what}" for _, what, n in moved]
    if report.requantized:
        out.append(_again(report))
    low = sum(c.low and c.changes and not r.weighted for c, r in zip(choices, report.results))
    if low:
        have = f"{many(low, 'tensor')} of very few bits {'has' if low == 1 else 'have'}"
        out.append(f"{have} no importances: expect little of them; see edgeq imatrix")
    missing = [name for name in report.missing if "token_embd" not in name and name != "output.weight"]
    if imatrix and missing:
        out.append(f"{shown(imatrix)}: nothing on {many(len(missing), 'tensor')}, from {shown(missing[0])} on")
    if not report.paths and (few := [r.loss.rows for r in report.results if _estimated(r)]):
        count = f"{min(few)} to {max(few)}" if min(few) < max(few) else f"{few[0]}"
        out.append(f"~: an estimate from {count} rows spread over the tensor; what is not finite elsewhere goes unseen")
    total = summary(choices)
    bits = 8 * total["target_bytes"] / max(1, total["weights"])
    where = f"{', '.join(map(shown, report.paths))}: " if report.paths else "would write "
    formats = Counter(c.target.name for c in choices if len(c.shape) > 1)
    mixture = ", ".join(f"{n} {fmt}" for fmt, n in formats.most_common())
    out.append(f"{where}{size(total['target_bytes'])}, {bits:.2f} bits a weight ({mixture})")
    return out
