"""From slots to figures: medians, what was dropped, ratios of rounds, shares of the limits."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

from edgeq.bench import rule, stats
from edgeq.bench.cases import SPEED, TILES, Case
from edgeq.bench.roofline import floor

Rounds = dict[int, float]  # round -> figure or value


class Cell(NamedTuple):
    """One case of one engine. figures: those that count, by round; every: all, the warm-up round apart.

    share: of the machine's limit, and what sets it ("memory", "int8", "tiles"); ratio: the first engine's figure over
    this, and whether enough of their rounds count, else it is of all of them."""

    label: str
    case: Case
    figures: Rounds
    every: Rounds
    rounds: int
    share: float | None = None
    bound: str = ""
    ratio: stats.Interval | None = None
    paired: bool = False

    @property
    def dropped(self) -> int:
        return len(self.every) - len(self.figures)

    @property
    def middle(self) -> float | None:
        """The median; None where too few slots are left."""
        return median(self.figures.values()) if rule.enough(len(self.figures), self.rounds) else None

    @property
    def noisy(self) -> float | None:
        """The median of all slots, rejected ones too; None where there are none."""
        return median(self.every.values()) if self.every else None


def case_of(entry: dict[str, Any]) -> Case:
    return Case(entry["kind"], entry["n"], entry["depth"], entry["isa"])


class Slots:
    """Values of one model by engine and case, of the rounds after the first."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.every: dict[tuple[str, str], Rounds] = {}
        self.kept: dict[tuple[str, str], Rounds] = {}
        for slot in model["slots"]:
            if slot["round"] > 0:
                for table in (self.every, self.kept) if slot["rejected"] is None else (self.every,):
                    table.setdefault((slot["engine"], slot["case"]), {})[slot["round"]] = slot["value"]

    def of(self, label: str, case: Case) -> tuple[Rounds, Rounds]:
        """Values that count, and all."""
        return self.kept.get((label, case.name), {}), self.every.get((label, case.name), {})

    def limit(self, case: Case) -> Rounds:
        """Of every round that counts, and under 0 their median; of all rounds where none counts."""
        kept, every = self.of("limits", case)
        known = kept or every
        return {**known, 0: median(known.values())} if known else {}


def limits(model: dict[str, Any], rounds: int) -> list[Cell]:
    """What the machine can do."""
    slots = Slots(model)
    return [_cell(slots, "limits", case_of(entry), rounds) for entry in model["limits"]]


def rows(result: dict[str, Any], model: dict[str, Any]) -> Iterator[tuple[Case, list[Cell]]]:
    """Every case with a cell per contender, in the order of the command line."""
    rounds, threads = result["settings"]["rounds"], result["settings"]["threads"]
    slots = Slots(model)
    for entry in model["cases"]:
        case = case_of(entry)
        cells: list[Cell] = []
        for contender in model["contenders"]:
            cell = _cell(slots, contender["label"], case, rounds)
            share, bound = _share(slots, model, contender["facts"], cell, threads)
            ratio, paired = _ratio(cells[0], cell) if cells else (None, False)
            cells.append(cell._replace(share=share, bound=bound, ratio=ratio, paired=paired))
        yield case, cells


def _cell(slots: Slots, label: str, case: Case, rounds: int) -> Cell:
    kept, every = slots.of(label, case)
    return Cell(label, case, {r: case.figure(v) for r, v in kept.items()},
                {r: case.figure(v) for r, v in every.items()}, rounds)  # fmt: skip


def _ratio(first: Cell, other: Cell) -> tuple[stats.Interval | None, bool]:
    """Of rounds in which both count; of all where too few do."""
    one, two = first.figures, other.figures
    counts = rule.enough(len(one.keys() & two.keys()), first.rounds)
    if not counts:
        one, two = first.every, other.every
    shared = sorted(one.keys() & two.keys())
    return stats.ratio([one[r] for r in shared], [two[r] for r in shared]) if shared else None, counts


def _share(
    slots: Slots, model: dict[str, Any], facts: dict[str, Any], cell: Cell, threads: int
) -> tuple[float | None, str]:  # fmt: skip
    """Median over the rounds of the least time that the machine of that round allows over the time taken.

    Engines that say nothing of their kernels are held against the best of this machine."""
    case = cell.case
    isa = facts.get("isa") or model["machine"].get("isa") or ""
    own = facts.get("threads") or threads
    unit = "tiles" if isa == TILES and case.many else "int8"
    read, peak = slots.limit(Case("read", own)), slots.limit(Case(unit, own, isa=isa))
    kept, every = slots.of(cell.label, case)
    taken = every if cell.middle is None else kept
    if case.kind not in SPEED or not read or not peak or not taken:
        return None, ""
    known = facts.get("model") or model["facts"]
    found = [(floor(case, known, read.get(r, read[0]), peak.get(r, peak[0]), unit), t) for r, t in taken.items()]
    return median(f.seconds / t for f, t in found), found[0][0].bound
