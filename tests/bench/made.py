"""A result as a run would make it, with figures that can be checked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeq.bench import result
from edgeq.bench.cases import Case, peaks
from edgeq.bench.rule import Slot

READ, INT8, TILES = 10e9, 1e12, 4e12
FACTS = {"weights": 100_000_000, "products": 100_000_000, "head": 0, "caches": [[0, 0]]}
QUIET, STOLEN = Slot(1.0, 0.0, 0.0, (1e9, 1e9)), Slot(1.0, 0.5, 0.0, (1e9, 1e9))
PP, TG = Case("pp", 100), Case("tg", 10)


def model(
    values: dict[tuple[str, Case], Sequence[float]], stolen: Sequence[int] = (), limits: bool = True, isa: str = "best"
) -> tuple[dict[str, Any], list[Slot]]:  # fmt: skip
    """`values`: of the rounds from 1 on by engine and case, a warm-up before them; slots of rounds `stolen` are bad."""
    labels, cases = list(dict.fromkeys(k[0] for k in values)), list(dict.fromkeys(k[1] for k in values))
    rounds = max(len(v) for v in values.values())
    machine = {Case("read", 2): READ, Case("int8", 2, isa=isa): INT8} if limits else {}
    if limits and "tiles" in peaks(isa):
        machine[Case("tiles", 2, isa=isa)] = TILES
    slots, seen = [], []
    everything = {**{("limits", case): [v] * rounds for case, v in machine.items()}, **values}
    for turn in range(rounds + 1):
        for (label, case), figures in everything.items():
            look = STOLEN if turn in stolen and label != "limits" else QUIET
            value = 1e3 if turn == 0 else figures[turn - 1]
            slots.append({"round": turn, "engine": label, "case": case.name, "value": value} | look.as_json())
            seen.append(look)
    found = {
        "file": "m.gguf", "size": 5, "context": 512, "facts": FACTS, "machine": {"isa": isa} if limits else {},
        "contenders": [{"label": x, "kind": "own" if i == 0 else "llama_bench",
                        "facts": {"isa": isa, "threads": 2} if i == 0 else {}} for i, x in enumerate(labels)],
        "cases": [c.as_json() for c in cases], "limits": [c.as_json() for c in machine], "left_out": ["pp2048"],
        "slots": slots, "failures": [{"engine": "other", "case": "pp100", "message": "bad\x1b[31m luck"}],
    }  # fmt: skip
    return found, seen


def make(values: dict[tuple[str, Case], Sequence[float]], **more: Any) -> dict[str, Any]:
    found, seen = model(values, **more)
    rounds = max(len(v) for v in values.values())
    machine = {"cpu": "Some CPU", "edgeq": "0.1.0"}
    given, words = {"rounds": rounds, "threads": 2}, ["edgeq", "bench"]
    made = result.make([found], [seen], given, machine, words, "2026-01-01T00:00:00")
    made["blind"] = []
    return made
