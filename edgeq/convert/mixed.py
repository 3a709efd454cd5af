"""A mix of formats in place of one: the plan of a conversion as `edgeq quantize` would have it."""

from __future__ import annotations

from edgeq import gguf
from edgeq.convert import grid
from edgeq.convert.plan import Item, Plan
from edgeq.convert.source import Integers
from edgeq.gguf import Value
from edgeq.quantize import Mix, make_plan, mix_named

PLAIN = ("F32", "F16", "BF16", "Q8_0")  # one format for every matrix, as llama.cpp's converter has it


def mix_of(kind: str) -> Mix | None:
    """The mix that a type names; None for one format for all matrices, and for "auto". UsageError if there is none."""
    return None if kind == "auto" or kind.upper() in PLAIN else mix_named(kind)[1]


def apply(found: Plan, metadata: dict[str, Value], mix: Mix) -> Plan:
    """The plan with the mix's formats; what does not fit is noted."""
    infos = [gguf.tensor_info(item.name, item.shape, "F32") for item in found.items]
    choices = make_plan(infos, {key: value.value for key, value in metadata.items()}, mix)
    items = [_chosen(item, c.target.name, c.fallback) for item, c in zip(found.items, choices)]
    low = sum(c.low and not item.taken for c, item in zip(choices, items))
    notes = (
        [f"{low} tensors of very few bits have no importances: expect little of them; see edgeq imatrix"] if low else []
    )
    return found.replace(items=items, notes=found.notes + notes)


def _chosen(item: Item, fmt: str, fallback: str) -> Item:
    if len(item.shape) == 1:
        return item
    note = f"rows of {item.shape[-1]} are no whole blocks of {fallback}: made {fmt}" if fallback else ""
    holding = grid.formats(item.source) if isinstance(item.source, Integers) else ()
    return item.replace(format=fmt, taken=fmt in holding, note=note)
