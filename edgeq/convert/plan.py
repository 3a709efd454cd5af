"""What goes into the file: every tensor of the architecture with its source, its format and what is done to it.

Reads scales and zeros of quantized tensors, and of weights none but a head that may be the embedding again: `--dry-run`
shows a plan and writes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert import grid
from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.families.family import EMBEDDING, HEAD, Family, Slot, pairs_from_halves
from edgeq.convert.hparams import Hparams
from edgeq.convert.prequantized import sources as quantized_sources
from edgeq.convert.source import Integers, Plain, Rows, Source
from edgeq.errors import ModelError, UsageError, shown
from edgeq.quants import FORMATS, Format, by_name
from edgeq.record import Record

OTHER_PARTS = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")
UNUSED = ("rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias")  # what runtimes compute themselves
KEPT = {"F64": "F32", "F32": "F32", "F16": "F16", "BF16": "BF16"}  # `auto`: floats stay what they are
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FALLBACK = "F16"  # where the rows of a matrix are no whole blocks, as in llama.cpp's converter


class Item(Record):
    """A tensor of the file. `source`, or `values` of a vector that is computed; `rows` of the source in the order of
    the file; `plus` and `times` as in Slot; `taken`: its whole numbers are taken over as they are; `note`: why it has
    another format than was asked for; `importance` of its columns, [1, columns];
    `keep_size`: see `edgeq.quants.gain`."""

    name: str
    shape: tuple[int, ...]
    format: str
    source: Source | None
    values: NDArray[np.float32] | None = None
    rows: Rows | None = None
    plus: float = 0.0
    times: float = 1.0
    taken: bool = False
    note: str = ""
    importance: NDArray[np.float32] | None = None
    keep_size: bool = False

    @property
    def nbytes(self) -> int:
        return by_name(self.format).row_bytes(self.shape[-1]) * math.prod(self.shape[:-1])

    @property
    def quantized(self) -> bool:
        """Whether the checkpoint has it quantized."""
        return self.source is not None and self.source.kind not in KEPT


class Plan(Record):
    """All tensors in the order of the file; the checkpoint's quantization method, or ""; what is left out and why."""

    items: list[Item]
    method: str
    notes: list[str]


def plan(checkpoint: Checkpoint, family: Family, h: Hparams, kind: str = "auto") -> Plan:
    """The tensors of a checkpoint for the file.

    `kind`: "auto" keeps floats as they are and takes quantized weights over where a format holds them; else the format
    of every matrix. Vectors are F32.
    Raises ModelError for tensors that are missing, unknown, or of another shape than config.json gives them."""
    wanted = None if kind == "auto" else _format(kind)
    sources, method, notes = named_sources(checkpoint)
    # Tools that quantize give every linear a bias; one of zeros is none.
    biases = {n: s for n, s in sources.items() if method and n.endswith(".bias") and len(s.shape) == 1}
    empty = {n for n, s in biases.items() if not s.floats(np.arange(s.shape[0])).any()}
    slots, sizes = family.tensors(h), h.sizes()
    notes += _tied(slots, sources)
    items = []
    for slot in slots:
        source = sources.pop(slot.source, None)
        shape = tuple(sizes[name] for name in slot.shape)
        if slot.optional and (source is None or slot.source in empty):
            continue
        if source is None:
            raise ModelError(f"tensor {shown(slot.source)} is missing; expected shape {list(shape)}")
        if source.shape != shape:
            raise ModelError(f"tensor {shown(slot.source)}: shape {list(source.shape)}, expected {list(shape)}")
        items.append(_item(slot, source, shape, h, wanted.name if wanted else None))
        checkpoint.release()
    if unknown := sources.keys() - empty:
        some = ", ".join(sorted(unknown)[:5])
        raise ModelError(
            f"{len(unknown)} tensors are not part of {family.arch} as edgeq knows it: {shown(some, 300)}; leaving them "
            "out would make another model"
        )
    made = [Item(name, v.shape, "F32", None, v) for name, v in family.rope(h).tensors.items()]
    return Plan(items + made, method, notes)


def _tied(slots: list[Slot], sources: dict[str, Source]) -> Iterator[str]:
    """Removes a head that is the embedding again, where config.json ties the two; the note on what was done."""
    names = {slot.target: slot.source for slot in slots}
    head, embedding = sources.get(names[HEAD]), sources.get(names[EMBEDDING])
    if not any(slot.target == HEAD and slot.optional for slot in slots) or head is None:
        return
    if isinstance(head, Plain) and head.same(embedding):
        del sources[names[HEAD]]
        yield f"{head.name}: left out, config.json ties the head to the embedding"
    else:
        yield f"{head.name}: kept, for it is not the embedding, though tie_word_embeddings of config.json says so"


def _format(kind: str) -> Format:
    found = by_name(kind)
    if not found.linear:
        raise UsageError(f"--type {kind}: no format for the weights of a model")
    return found


def named_sources(checkpoint: Checkpoint) -> tuple[dict[str, Source], str, list[str]]:
    """Every tensor of the text model by the name it has in a checkpoint of the text model alone."""
    raw = {n: t for n, t in checkpoint.tensors.items() if not n.startswith(OTHER_PARTS) and not n.endswith(UNUSED)}
    others = sum(n.startswith(OTHER_PARTS) for n in checkpoint.tensors)
    notes = [f"{others} tensors of the vision part are left out"] if others else []
    method, found = quantized_sources(checkpoint, raw)
    if method and not found:
        notes.append(f"the checkpoint names {method} as its quantization, and no tensor is quantized: taken as floats")
    out: dict[str, Source] = {}
    for name, source in [*found.items(), *((n, Plain(t)) for n, t in raw.items())]:
        inner = name.replace("language_model.", "", 1)
        if inner in out:
            raise ModelError(f"tensor {shown(inner)} is there twice: {_places(out[inner], source)}; expected one")
        out[inner] = source
    return out, method, notes


def _places(first: Source, second: Source) -> str:
    """Where two sources of one tensor lie: under two names, or in two forms."""
    if first.name != second.name:
        return f"as {shown(first.name)} and as {shown(second.name)}"
    return f"in the parts of {first.kind}, and as {second.kind}"


def _item(slot: Slot, source: Source, shape: tuple[int, ...], h: Hparams, wanted: str | None) -> Item:
    rows = None
    if slot.heads:
        rows = pairs_from_halves(shape[0], h.heads if slot.heads == "heads" else h.kv_heads)
    item = Item(slot.target, shape, "F32", source, None, rows, slot.plus, slot.times)
    if len(shape) == 1:
        return item
    holding = grid.formats(source) if isinstance(source, Integers) else ()
    note = ""
    if wanted is None:
        fmt = holding[0] if holding else KEPT.get(source.kind) or _dtype(h)
        if isinstance(source, Integers) and not holding:
            note = f"groups or scales fit no format: made {fmt}"
    else:
        fmt = by_name(wanted).name
    if shape[-1] % FORMATS[fmt].block:
        note, fmt = f"rows of {shape[-1]} are no whole blocks of {fmt}: made {FALLBACK}", FALLBACK
    return item.replace(format=fmt, taken=fmt in holding, note=note)


def _dtype(h: Hparams) -> str:
    """The floats that the model was made in."""
    named: Any = h.get("dtype", h.get("torch_dtype"))
    return DTYPES.get(named, "F16") if isinstance(named, str) else "F16"
