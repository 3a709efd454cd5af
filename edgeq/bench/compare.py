"""Two results side by side: B over A, with intervals. Runs apart share no rounds, so nothing is paired."""

from __future__ import annotations

from statistics import median
from typing import Any

from edgeq.bench import rule, stats, summary
from edgeq.bench.report import Table
from edgeq.bench.summary import Cell
from edgeq.errors import UsageError, shown


def compared(a: dict[str, Any], b: dict[str, Any]) -> list[Table]:
    """A table per model that both have. Raises UsageError where they have nothing in common."""
    theirs = {model["file"]: model for model in b["models"]}
    out = []
    for model in a["models"]:
        if model["file"] not in theirs:
            continue
        old, new = _cells(a, model), _cells(b, theirs[model["file"]])
        rows = [_row(old[key], new[key]) for key in old if key in new]
        if rows:
            out.append(Table(shown(model["file"], 80), ["", "unit", "engine", "A", "B", "B / A"], rows))
    if not out:
        raise UsageError("the two results have no model with an engine and a case in common")
    return out


def notes(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Which machines, and a warning where they differ."""
    out = [
        f"{name}: {shown(r['created'], 40)}, edgeq {shown(r['machine']['edgeq'], 40)}, "
        f"{r['settings']['threads']} threads on {shown(r['machine']['cpu'], 80)}"
        for name, r in (("A", a), ("B", b))
    ]
    if a["machine"]["cpu"] != b["machine"]["cpu"] or a["settings"]["threads"] != b["settings"]["threads"]:
        out.append("not the same machine or number of threads: the ratios are no measure of the programs")
    return [*out, "ratios of medians with 95 % intervals; ~ too few slots passed the rule, all of them are taken"]


def _cells(result: dict[str, Any], model: dict[str, Any]) -> dict[tuple[str, str], Cell]:
    found = [cell for _, cells in summary.rows(result, model) for cell in cells]
    found += summary.limits(model, result["settings"]["rounds"])
    return {(cell.case.name, cell.label): cell for cell in found if cell.every}


def _row(old: Cell, new: Cell) -> list[str]:
    words = [old.case.name, old.case.unit, shown(old.label, 40)]
    used = []
    for cell in (old, new):
        counts = rule.enough(len(cell.figures), cell.rounds)
        used.append(list((cell.figures if counts else cell.every).values()))
        words.append(("" if counts else "~") + cell.case.written(median(used[-1])))
    return [*words, str(stats.change(used[1], used[0]))]
