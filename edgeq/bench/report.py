"""A result as tables: on the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeq.bench import summary
from edgeq.bench.summary import Cell
from edgeq.errors import shown

NOTE = "~ too few slots passed the rule: no figure, but what all of them say"

RIGHT = ("median", "dropped", "A", "B")


class Table(NamedTuple):
    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(result: dict[str, Any]) -> list[Table]:
    """Of every model: a row per case and engine, then what the machine can do."""
    out, rounds = [], result["settings"]["rounds"]
    for model in result["models"]:
        title = f"{shown(model['file'], 80)}, {model['facts']['weights'] / 1e6:.0f} MB a token"
        first = shown(model["contenders"][0]["label"], 40) if model["contenders"] else ""
        columns = ["", "unit", "engine", "median", "of limit", f"{first} / engine", "dropped"]
        found = [row for _, cells in summary.rows(result, model) for row in map(_row, filter(_measured, cells))]
        if len(model["contenders"]) == 1:
            found = [[*row[:2], "", *row[3:]] for row in found]
        out.append(_filled(title, columns, found))
        machine = [_row(cell) for cell in summary.limits(model, rounds)]
        if machine:
            out.append(_filled("what the machine can do", columns, [[*row[:2], "", *row[3:]] for row in machine]))
    return out


def _measured(cell: Cell) -> bool:
    """Others are told of in the notes, or have no program for the case."""
    return bool(cell.every)


def _filled(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The table less its empty columns."""
    used = [i for i in range(len(columns)) if i < 2 or any(row[i] for row in rows)]
    return Table(title, [columns[i] for i in used], [[row[i] for i in used] for row in rows])


def _row(cell: Cell) -> list[str]:
    """~ where too few slots passed the rule: what all of them say."""
    figure = cell.noisy if cell.middle is None else cell.middle
    mark = "~" if cell.middle is None else ""
    return [
        cell.case.name, cell.case.unit, shown(cell.label, 40),
        "–" if figure is None else mark + cell.case.written(figure),
        f"{mark}{cell.share:.0%} {cell.bound}" if cell.share is not None else "",
        f"{'' if cell.paired else '~'}{cell.ratio}" if cell.ratio else "",
        f"{cell.dropped} of {len(cell.every)}" if cell.dropped else "",
    ]  # fmt: skip


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the tables must know."""
    out, settings = [], result["settings"]
    out.append(f"medians of {settings['rounds']} rounds after one that does not count, {settings['threads']} threads, "
               f"on {shown(result['machine']['cpu'], 80)}; ratios of rounds with 95 % intervals")  # fmt: skip
    if any("~" in word for table in tables(result) for row in table.rows for word in row):
        out.append(NOTE)
    for model in result["models"]:
        out += [f"{shown(model['file'], 80)}: {dropped}" for dropped in _dropped(model)]
        if model["left_out"]:
            names = ", ".join(shown(name, 40) for name in model["left_out"])
            out.append(f"{shown(model['file'], 80)}: {names} need more than its context of {model['context']}")
        for f in model["failures"]:
            what = " ".join(shown(word, 40) for word in (f["engine"], f["case"]) if word)
            out.append(f"{what} is left out: {shown(f['message'], 400)}")
    return out + [shown(line) for line in result["blind"]]


def _dropped(model: dict[str, Any]) -> list[str]:
    """One line per engine that lost slots."""
    out = []
    for label in ["limits", *(c["label"] for c in model["contenders"])]:
        mine = [s for s in model["slots"] if s["engine"] == label and s["round"] > 0]
        bad = [s["rejected"].split()[0] for s in mine if s["rejected"]]
        if bad:
            why = ", ".join(f"{bad.count(word)} for {shown(word, 20)}" for word in dict.fromkeys(bad))
            out.append(f"{len(bad)} of {len(mine)} slots of {shown(label, 40)} were dropped: {why}")
    return out


def markdown(result: dict[str, Any]) -> str:
    """Tables and notes, for a page."""
    lines = []
    for table in tables(result):
        lines += [f"**{_cell(table.title)}**", "", "| " + " | ".join(map(_cell, table.columns)) + " |"]
        lines.append("|" + "|".join(["---:" if c in RIGHT else "---" for c in table.columns]) + "|")
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {_cell(note)}" for note in notes(result)), ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def show(found: Sequence[Table], said: Sequence[str]) -> None:
    """Prints to stdout, as wide as needed where that is no terminal."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400)
    for table in found:
        grid = Grid(title=Text(table.title, style="bold"), title_justify="left")
        for head in table.columns:
            grid.add_column(Text(head), justify="right" if head in RIGHT else "left", overflow="fold")
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    for note in said:
        console.print(Text(note))
