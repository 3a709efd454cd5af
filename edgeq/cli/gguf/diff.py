"""`edgeq gguf diff`: what differs between two models, and how far apart their weights are."""

from __future__ import annotations

from typing import Any

import click

from edgeq import gguf
from edgeq.cli.gguf.lines import change, change_facts, tensor_facts, write_json, write_lines
from edgeq.cli.progress import Progress
from edgeq.cli.show import table
from edgeq.cli.terminal import say
from edgeq.errors import shown
from edgeq.gguf.comparing import Distance, TensorChange
from edgeq.gguf.values import plain


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--no-data", is_flag=True, help="Compare names, shapes and formats of tensors, but no weights.")
@click.option("--no-metadata", is_flag=True, help="Compare tensors alone.")
@click.option("--tensors", metavar="REGEX", help="Only tensors in whose name this is found; there has to be one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(a: str, b: str, no_data: bool, no_metadata: bool, tensors: str | None, as_json: bool) -> int:
    """Compare two models; exit code 1 if they differ.

    For tensors of one shape: the root mean square of B - A relative to that of A, the largest difference, and the
    cosine between them, of the numbers that the formats stand for. Splitting and order make no difference.
    """
    with Progress("compared") as progress:
        found = gguf.compare(a, b, data=not no_data, tensors=tensors, progress=progress)
    if no_metadata:
        found = found._replace(metadata=())
    if as_json:
        write_json(report(found))
    else:
        write_lines([*(change(c) for c in found.metadata), *tensor_lines(found.tensors)])
        say(summary(found))
    return 1 if found.differ else 0


def report(found: gguf.Comparison) -> dict[str, Any]:
    """All of it as JSON types."""
    return {
        "differ": found.differ,
        "metadata": [change_facts(c) for c in found.metadata],
        "tensors": [
            {
                "name": t.name,
                "old": t.old and tensor_facts(t.old),
                "new": t.new and tensor_facts(t.new),
                "distance": t.distance and {k: plain("f64", v) if isinstance(v, float) else v
                                            for k, v in t.distance._asdict().items()},
            }
            for t in found.tensors
        ],
        "same_tensors": found.same,
    }  # fmt: skip


def tensor_lines(changes: tuple[TensorChange, ...]) -> list[str]:
    """Lines for tensors of one side or of two shapes, then a table of those whose numbers differ."""
    lines = [line(t) for t in changes if t.distance is None]
    rows = [row(t, t.distance) for t in changes if t.distance is not None]
    return lines + (table(["rel. RMS", "largest", "cosine", "format", "tensor"], rows, (-2, -1)) if rows else [])


def line(t: TensorChange) -> str:
    if t.old is None or t.new is None:
        sign, one = ("-", t.old) if t.new is None else ("+", t.new)
        assert one is not None
        return f"{sign} tensor {shown(t.name)}: {one.format.name} {list(one.shape)}"
    sides = [f"{s.format.name} {list(s.shape)}" for s in (t.old, t.new)]
    return f"~ tensor {shown(t.name)}: {sides[0]} → {sides[1]}"


def row(t: TensorChange, d: Distance) -> list[str]:
    assert t.old is not None and t.new is not None
    one, other = t.old.format.name, t.new.format.name
    odd = f" ({d.odd} not finite on one side)" if d.odd else ""
    return [
        f"{d.rms:.3g}",
        f"{d.largest:.3g}",
        "-" if d.cosine is None else f"{d.cosine:.6f}",
        one if one == other else f"{one} → {other}",
        shown(t.name) + odd,
    ]


def summary(found: gguf.Comparison) -> str:
    sides = {"only in A": 0, "only in B": 0, "different": 0}
    for t in found.tensors:
        sides["only in A" if t.new is None else "only in B" if t.old is None else "different"] += 1
    parts = [f"tensors: {found.same} the same", *(f"{n} {what}" for what, n in sides.items() if n)]
    return ", ".join(parts) + (f"; metadata keys: {len(found.metadata)} different" if found.metadata else "")
