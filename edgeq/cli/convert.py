"""`edgeq convert`: a Hugging Face checkpoint to a GGUF file, with a report of every tensor and every fallback."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from edgeq import convert
from edgeq.cli.quantize import importances
from edgeq.cli.show import alike, size
from edgeq.cli.show import table as lines
from edgeq.cli.terminal import Out, interrupted, say
from edgeq.errors import UsageError, shown
from edgeq.lora.peft import is_folder as is_adapter


@click.command(
    epilog="Quantized checkpoints (GPTQ, AWQ, bitsandbytes, compressed-tensors, FP8) are taken over without rounding "
    "where a format of GGUF holds their whole numbers. All others, FP8 among them, are dequantized exactly (in "
    "float32) and stored in the float type that config.json names (dtype; F16 without one), which rounds; --type f32 "
    "does not."
)
@click.argument("folder", metavar="DIR")
@click.argument("target", metavar="OUT", required=False)
@click.option(
    "--type", "kind", default="auto", metavar="TYPE",
    help="f32, f16, bf16, q8_0 for all matrices, or a mix of edgeq quantize; auto (the default) keeps what there is "
    "(see below).",
)  # fmt: skip
@click.option("--imatrix", metavar="FILE", help="Importance matrix for a mix, as edgeq imatrix or llama.cpp writes it.")
@click.option("--base", metavar="MODEL", help="Of an adapter: its model, a GGUF file or a checkpoint's folder.")
@click.option("--name", help="Name of the model, in place of the folder's.")
@click.option("--context", type=click.IntRange(1, 2**31 - 1), help="Context length, in place of the checkpoint's.")
@click.option("--vocab-only", is_flag=True, help="Write the tokenizer and the metadata, no tensors.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    folder: str, target: str | None, kind: str, imatrix: str | None, base: str | None, name: str | None,
    context: int | None, vocab_only: bool, dry_run: bool, overwrite: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Convert the checkpoint in DIR (config.json, safetensors, tokenizer files) to the GGUF file OUT.

    DIR can be a LoRA adapter as PEFT saves it (adapter_config.json, adapter_model.safetensors), with --base."""
    if is_adapter(folder):
        if name is not None or context or vocab_only or dry_run or imatrix:
            raise UsageError("--name, --context, --vocab-only, --dry-run, --imatrix go with models, not with adapters")
        _adapter(folder, target, kind, base, overwrite, as_json)
        return
    if base is not None:
        raise UsageError(f"--base: {shown(folder)} is no PEFT adapter (adapter_config.json); a model has no base")
    if target is None and not dry_run:
        raise UsageError("OUT is missing: the GGUF file to write; or --dry-run, to see what would be written")
    report = convert.prepare(
        folder, target or "", kind, importance=importances(imatrix), importance_file=imatrix or "", name=name,
        context=context, vocab_only=vocab_only,
    )  # fmt: skip
    if not dry_run:
        with interrupted():
            report = _written(report, overwrite, quiet or as_json)
    facts = as_facts(report, dry_run)
    if as_json:
        Out().write(json.dumps(facts, indent=1) + "\n")
    elif dry_run:
        Out().write("\n".join(table(facts)) + "\n")
    for line in summary(facts, folder):
        say(line)


def _adapter(folder: str, target: str | None, kind: str, base: str | None, overwrite: bool, as_json: bool) -> None:
    """A PEFT adapter to a GGUF adapter. `auto` is F32, which holds whatever there is."""
    from edgeq import lora

    if target is None:
        raise UsageError("OUT is missing: the GGUF file to write")
    if base is None:
        raise UsageError(
            f"{shown(folder)}: an adapter; add --base MODEL, the GGUF file or the checkpoint that it was made for"
        )
    made = lora.convert(folder, target, base, "F32" if kind == "auto" else kind, overwrite=overwrite)
    ranks = sorted({pair.rank for pair in made.pairs.values()})
    if as_json:
        facts = {"target": target, "architecture": made.architecture, "alpha": made.alpha, "ranks": ranks,
                 "weights": list(made.pairs)}  # fmt: skip
        Out().write(json.dumps(facts, indent=1) + "\n")
    say(
        f"wrote {shown(target)}: adapter for {made.architecture}, {len(made.pairs)} weights, "
        f"rank {ranks[0]}{f' to {ranks[-1]}' if len(ranks) > 1 else ''}, alpha {made.alpha:g}"
    )


def _written(report: convert.Report, overwrite: bool, quiet: bool) -> convert.Report:
    from edgeq.pull.progress import Silent, for_stderr

    progress = Silent() if quiet else for_stderr()
    done = 0

    def told(item: Any, nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress.update(done)

    progress.start(shown(report.target, 60), 0, sum(item.nbytes for item in report.plan.items))
    try:
        return convert.write(report, overwrite, told)
    finally:
        progress.close()


def as_facts(report: convert.Report, dry_run: bool) -> dict[str, Any]:
    """The report as JSON types. Sizes are bytes; errors are shares of the root mean square of the tensor's values."""
    tensors = []
    for item in report.plan.items:
        row: dict[str, Any] = {
            "name": item.name,
            "shape": list(item.shape),
            "from": item.source.kind if item.source else "computed",
            "type": item.format,
            "bytes": item.nbytes,
            "taken_over": item.taken,
            "note": item.note or None,
        }
        if item.name in report.errors:
            error = report.errors[item.name]
            row |= {"rms_error": error.rms, "largest_error": error.largest}
        tensors.append(row)
    return {
        "target": report.target,
        "written": not dry_run,
        "architecture": report.architecture,
        "quantization": report.plan.method or None,
        "tensors": tensors,
        "bytes": sum(row["bytes"] for row in tensors),
        "metadata": len(report.metadata),
        "notes": report.notes,
    }


def table(facts: dict[str, Any]) -> list[str]:
    """The tensors, a line to each."""
    rows = []
    for t in facts["tensors"]:
        kind = t["type"] + (" as it is" if t["taken_over"] else "")
        rows.append([shown(t["name"], 80), " x ".join(map(str, t["shape"])), t["from"], kind, size(t["bytes"])])
    return lines(("tensor", "shape", "from", "type", "bytes"), rows, range(5))


def summary(facts: dict[str, Any], folder: str) -> list[str]:
    """What is said on stderr: the file, what imports cost, and every note."""
    kinds: dict[str, int] = {}
    for t in facts["tensors"]:
        kinds[t["type"]] = kinds.get(t["type"], 0) + 1
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    verb = "wrote" if facts["written"] else "would write"
    out = [
        f"{verb} {shown(facts['target'] or folder)}: {facts['architecture']}, {len(facts['tensors'])} tensors "
        f"({counted or 'vocabulary alone'}), {size(facts['bytes'])}"
    ]
    return out + _imports(facts) + _notes(facts)


def _notes(facts: dict[str, Any]) -> list[str]:
    """Every note, a line for all tensors that have the same one."""
    fallbacks = [(shown(t["name"]), t["note"]) for t in facts["tensors"] if t["note"]]
    own = {f"{t['name']}: {t['note']}" for t in facts["tensors"] if t["note"]}
    lines = [note for note in facts["notes"] if note not in own]
    for name, what, n in alike(fallbacks):
        lines.append(f"{name}: {what}" + (f", and {n - 1} more tensor{'s' * (n > 2)}" if n > 1 else ""))
    return [shown(line if line.startswith("warning: ") else f"note: {line}", 900) for line in lines]


def _imports(facts: dict[str, Any]) -> list[str]:
    """What the import of quantized weights cost: by kind and type how many exactly, the rest with their errors."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for t in facts["tensors"]:
        if "rms_error" in t:
            found.setdefault((t["from"], t["type"]), []).append(t)
    lines = []
    for (kind, fmt), rows in found.items():
        off = [t for t in rows if t["largest_error"] > 0]
        worst = max(off, key=lambda t: t["rms_error"], default=None)
        line = f"{kind} to {fmt}: {len(rows) - len(off)} of {len(rows)} tensors exactly"
        if worst is not None:
            mean = math.sqrt(sum(t["rms_error"] ** 2 for t in off) / len(off))
            most = f"{worst['rms_error']:.1e} ({shown(worst['name'], 60)})"
            line += f"; the others with an added error of {mean:.1e} of their size, at most {most}"
            line += "; --type f32 rounds nothing" if fmt in ("F16", "BF16") else ""
        lines.append(line)
    return lines
