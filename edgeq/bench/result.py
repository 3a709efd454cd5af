"""The JSON file of a run: every raw slot with what was seen around it. Written, read, and checked when read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from edgeq.bench import files, rule
from edgeq.bench.cases import COMMAND, MOST, UNITS, Case
from edgeq.errors import FormatError, shown

KIND, SCHEMA = "edgeq bench", 1
MOST_BYTES, MOST_SLOTS, MOST_ROUNDS = 1 << 25, 100_000, 1000
NUMBER, COUNT, TEXT = "a number", "a whole number from 0", "a text"

# What a file must have; more is allowed. A list has one pattern for all its items, a tuple is for what may be null,
# a name with ? for what may be missing.
CASE = {"kind": TEXT, "n": COUNT, "depth": COUNT, "isa": TEXT}
SLOT = {
    "round": COUNT, "engine": TEXT, "case": TEXT, "value": NUMBER, "wall": NUMBER, "steal": (NUMBER, None),
    "foreign": (NUMBER, None), "clock": ([NUMBER], None), "rejected": (TEXT, None),
}  # fmt: skip
FACTS = {"weights": COUNT, "products": COUNT, "head": COUNT, "caches": [[COUNT]]}
CONTENDER = {"label": TEXT, "kind": TEXT, "facts": {"isa?": TEXT, "threads?": (COUNT, None), "model?": FACTS}}
MODEL = {
    "file": TEXT, "size": COUNT, "context": COUNT, "facts": FACTS,
    "machine": {"isa?": TEXT}, "contenders": [CONTENDER], "cases": [CASE], "limits": [CASE],
    "left_out": [TEXT], "slots": [SLOT], "failures": [{"engine": TEXT, "case": TEXT, "message": TEXT}],
}  # fmt: skip
FILE = {
    "kind": TEXT, "schema": COUNT, "created": TEXT, "command": [TEXT], "machine": {"cpu": TEXT, "edgeq": TEXT},
    "settings": {"rounds": COUNT, "threads": COUNT}, "blind": [TEXT], "models": [MODEL],
}  # fmt: skip


def make(
    models: Sequence[dict[str, Any]], seen: Sequence[Sequence[rule.Slot]], settings: dict[str, Any],
    machine: dict[str, Any], words: Sequence[str], created: str,
) -> dict[str, Any]:  # fmt: skip
    """The result of a run: models as `Rounds.run` gives them, and what was seen around their slots."""
    reasons = iter(rule.verdicts([slot for of_model in seen for slot in of_model]))
    for model in models:
        for slot in model["slots"]:
            slot["rejected"] = next(reasons)
    limits = {"steal": rule.STEAL, "foreign": rule.FOREIGN, "clock": rule.CLOCK, "least": rule.LEAST}
    return {
        "kind": KIND, "schema": SCHEMA, "created": created, "command": list(words), "machine": machine,
        "settings": settings | {"rule": limits}, "blind": rule.blind(), "models": list(models),
    }  # fmt: skip


def save(result: dict[str, Any], path: str) -> None:
    """Raises GGUFError where the disk refuses."""
    files.write(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def load(path: str) -> dict[str, Any]:
    """A result that was saved. Raises FormatError for anything else, OSError where it cannot be read."""
    if (size := os.path.getsize(path)) > MOST_BYTES:
        raise FormatError(f"{shown(path)}: {size} bytes; results of edgeq bench have at most {MOST_BYTES}")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{shown(path)}: no JSON: {shown(error)}") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise FormatError(f"{shown(path)}: no result of `edgeq bench --json`")
    if found.get("schema") != SCHEMA:
        raise FormatError(
            f"{shown(path)}: schema {shown(found.get('schema'), 40)}, this edgeq knows {SCHEMA}; measure again"
        )
    if wrong := _wrong(found, FILE, "") or _inconsistent(found):
        raise FormatError(f"{shown(path)}: {wrong}")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no figure")


def _wrong(value: Any, pattern: Any, place: str) -> str:
    """What is the first thing that does not look like the pattern; empty if nothing."""
    if isinstance(pattern, tuple):
        return "" if value is None else _wrong(value, pattern[0], place)
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return _said(value, place, "an object")
        for name, inner in pattern.items():
            key = name.rstrip("?")
            if key not in value and name.endswith("?"):
                continue
            if key not in value:
                return f"{place.lstrip('.') or 'the file'} has no {key!r}"
            if wrong := _wrong(value[key], inner, f"{place}.{key}"):
                return wrong
        return ""
    if isinstance(pattern, list):
        if not isinstance(value, list):
            return _said(value, place, "a list")
        found = (_wrong(item, pattern[0], f"{place}[{i}]") for i, item in enumerate(value))
        return next((wrong for wrong in found if wrong), "")
    return "" if _is(value, pattern) else _said(value, place, pattern)


def _is(value: Any, wanted: str) -> bool:
    if wanted == TEXT:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if wanted == COUNT:
        return isinstance(value, int) and 0 <= value < 1 << 63
    return abs(value) < 1e300 and math.isfinite(value)


def _said(value: Any, place: str, wanted: str) -> str:
    return f"{place.lstrip('.')}: expected {wanted}, found {shown(json.dumps(value), 60)}"


def _inconsistent(found: dict[str, Any]) -> str:
    """What patterns do not say, so that whoever reads figures need not ask."""
    rounds, slots = found["settings"]["rounds"], sum(len(model["slots"]) for model in found["models"])
    if not 0 < rounds <= MOST_ROUNDS or slots > MOST_SLOTS:
        return f"{slots} slots in {rounds} rounds, expected at most {MOST_SLOTS} in 1 to {MOST_ROUNDS}"
    for i, model in enumerate(found["models"]):
        if wrong := _strange(model, rounds):
            return f"models[{i}]: {wrong}"
    return ""


def _strange(model: dict[str, Any], rounds: int) -> str:
    cases = [Case(**{k: c[k] for k in CASE}) for c in (*model["cases"], *model["limits"])]
    for c in cases:
        if c.kind not in UNITS or max(c.n, c.depth) > MOST or (c.n == 0 and c.kind not in COMMAND):
            return f"unknown case {shown(c.kind, 40)!r} of {c.n} at {c.depth}"
    labels = [contender["label"] for contender in model["contenders"]]
    names = {c.name for c in cases}
    if len(names) < len(cases) or len(set(labels)) < len(labels) or max(len(cases), len(labels)) > 1000:
        return "a case or a contender is there twice, or there are more than 1000"
    for slot in model["slots"]:
        if slot["case"] not in names or not 1e-12 < slot["value"] < 1e24 or slot["round"] > rounds:
            return f"a slot of {shown(slot['case'], 40)!r} in round {slot['round']} with value {slot['value']}"
    facts = [model["facts"], *(c["facts"]["model"] for c in model["contenders"] if "model" in c["facts"])]
    if any(len(cache) != 2 for of_engine in facts for cache in of_engine["caches"]):
        return "facts.caches: expected pairs"
    return ""
