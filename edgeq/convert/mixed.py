"""A mix of formats in place of one: the plan of a conversion as `edgeq quantize` would have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq import gguf
from edgeq.convert import grid
from edgeq.convert.plan import Item, Plan
from edgeq.convert.source import Integers
from edgeq.gguf import Value
from edgeq.quantize import Mix, importances, make_plan, mix_named
from edgeq.quantize.roles import is_multiplied

if TYPE_CHECKING:
    from edgeq.quantize.importances import Importances

PLAIN = ("F32", "F16", "BF16", "Q8_0")  # one format for every matrix, as llama.cpp's converter has it

ENDS = ("token_embd.weight", "output.weight")  # which importance matrices leave out


def mix_of(kind: str) -> Mix | None:
    """The mix that a type names; None for one format for all matrices, and for "auto". UsageError if there is none."""
    return None if kind == "auto" or kind.upper() in PLAIN else mix_named(kind)[1]


def apply(
    found: Plan, metadata: dict[str, Value], mix: Mix, importance: Importances | None = None, model: str = ""
) -> Plan:
    """The plan with the mix's formats and the importances; what does not fit is noted. UsageError for importances of
    another model."""
    infos = [gguf.tensor_info(item.name, item.shape, "F32") for item in found.items]
    keys = {key: value.value for key, value in metadata.items()}
    choices = make_plan(infos, keys, mix, imatrix=importance is not None)
    weights = importances.find(choices, importance, model)
    items = [
        _chosen(item, c.target.name, c.fallback).replace(importance=weights[c.name], keep_size=is_multiplied(c.name))
        for item, c in zip(found.items, choices)
    ]
    notes = list(found.notes)
    if low := sum(c.low and not item.taken and item.importance is None for c, item in zip(choices, items)):
        notes.append(f"{low} tensors of very few bits have no importances: expect little of them; see edgeq imatrix")
    missing = [c.name for c in choices if c.changes and c.name not in ENDS and weights[c.name] is None]
    if importance is not None and missing:
        notes.append(f"no importances for {len(missing)} tensors, from {missing[0]} on")
    notes += importances.notes(choices, importance)
    return found.replace(items=items, notes=notes)


def _chosen(item: Item, fmt: str, fallback: str) -> Item:
    if len(item.shape) == 1:
        return item
    note = f"rows of {item.shape[-1]} are no whole blocks of {fallback}: made {fmt}" if fallback else ""
    holding = grid.formats(item.source) if isinstance(item.source, Integers) else ()
    return item.replace(format=fmt, taken=fmt in holding, note=note)
