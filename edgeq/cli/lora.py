"""`edgeq lora`: work on adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from edgeq.cli.progress import Progress
from edgeq.cli.run_options import adapter
from edgeq.cli.terminal import Out, interrupted, say
from edgeq.errors import UsageError


@click.group()
def command() -> None:
    """Low-rank adapters (LoRA). `edgeq run --lora` runs them, `edgeq convert` makes GGUF files of PEFT's folders."""


@command.command(
    epilog="Adapters are GGUF files or PEFT's folders; what stands behind the last colon is the scale of one, 1 "
    "otherwise. Only the weights that an adapter changes are written anew; --type is their format."
)
@click.argument("words", nargs=-1, required=True, metavar="BASE ADAPTER[:SCALE]... OUT")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply all scales by this.")
@click.option("--type", "kind", metavar="TYPE", help="Format of the weights that change; otherwise the one they have.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads; all useful cores otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def merge(
    words: Sequence[str], scale: float, kind: str | None, overwrite: bool, threads: int | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Write the model BASE with adapters in its weights as OUT."""
    from edgeq.lora.merge import merge as merge_model
    from edgeq.lora.merge import notes

    if len(words) < 3:
        raise UsageError(f"expected BASE ADAPTER[:SCALE]... OUT, found {len(words)} words")
    if kind == "":
        raise UsageError("--type: expected the name of a format, as f16 or q8_0, found ''")
    given: list[Any] = [(name, scale * own) for name, own in map(adapter, words[1:-1])]
    with interrupted(), Progress("merging") as progress:
        told = None if quiet or as_json else lambda done, total, _: progress(done, total)
        report = merge_model(words[0], given, words[-1], kind, overwrite=overwrite, threads=threads, progress=told)
    if as_json:
        rows = [
            {"name": m.name, "from": m.source, "to": m.target, "change": m.change, "rounding": m.rounding}
            for m in report.merged
        ]
        Out().write(json.dumps({"files": list(report.paths), "tensors": rows}, indent=1) + "\n")
    for line in notes(report):
        say(line)
