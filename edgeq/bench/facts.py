"""What a model makes a machine do: bytes that a token reads, multiply-adds that it needs. From its program alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.gguf import Tensor
    from edgeq.model import Model


def facts(model: Model) -> dict[str, Any]:
    """As JSON types:

    weights    bytes that every token reads: all tensors but an embedding table that is nothing else
    products   multiply-adds in matrix products per token of a prompt
    head       more of them for each token whose logits are wanted: the head, and what lies behind the last attention
    caches     per layer with keys and values: bytes per position, positions it looks back (0: all)"""
    from edgeq.ops import Linear
    from edgeq.quants import FORMATS

    plain, kv = model.plain, FORMATS[model.kv_type]
    products = head = 0
    for op in plain.ops:
        if isinstance(op, Linear):
            rows, cols = plain.tensors[op.weight].shape
            if plain.buffers[op.x].outputs:
                head += rows * cols
            else:
                products += rows * cols
    return {
        "weights": sum(t.nbytes for t in read(model)), "products": products, "head": head,
        "caches": [[2 * c.kv_heads * c.head_dim * kv.nbytes // kv.block, c.window] for c in plain.caches],
        "architecture": model.arch, "trained_context": model.trained_context,
    }  # fmt: skip


def read(model: Model) -> list[Tensor]:
    """The file's tensors that every token reads as a whole, in the order of their addresses."""
    from edgeq.ops import Embed

    plain = model.plain
    used = {h for op in plain.ops if not isinstance(op, Embed) for h in op.handles("Weight")}
    names = {plain.tensors[h].name for h in used if plain.tensors[h].values is None}
    return sorted((model.file.tensors[name] for name in names if name in model.file.tensors), key=lambda t: t.address)


def ranges(tensors: list[Tensor], gap: int = 4096) -> list[tuple[int, int]]:
    """(address, bytes) of runs of tensors that lie side by side, cut to whole lines of 64 bytes."""
    runs: list[list[int]] = []
    for t in tensors:
        if runs and 0 <= t.address - runs[-1][1] <= gap:
            runs[-1][1] = t.address + t.nbytes
        else:
            runs.append([t.address, t.address + t.nbytes])
    cut = [(-(-first // 64) * 64, last) for first, last in runs]
    return [(first, (last - first) // 64 * 64) for first, last in cut if last - first >= 64]
