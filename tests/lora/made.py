"""Random adapters for tiny models, and GGUF files of them as the `gguf` package writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np

from edgeq import gguf
from edgeq.lora import Adapter, Pair


def adapter(model: Path, rank: int = 4, alpha: float = 8.0, seed: int = 0, only: str = "blk.") -> Adapter:
    """A pair for every matrix whose name begins with `only`; large enough to change every logit."""
    rng = np.random.default_rng(seed)
    with gguf.open(model) as file:
        shapes = {n: t.shape for n, t in file.tensors.items() if n.startswith(only) and len(t.shape) == 2}
        pairs = {
            name: Pair(
                rng.standard_normal((rank, shape[1])).astype(np.float32) / np.float32(shape[1] ** 0.5),
                rng.standard_normal((shape[0], rank)).astype(np.float32) / np.float32(4 * rank**0.5),
            )
            for name, shape in shapes.items()
        }
        return Adapter("made", str(file.metadata["general.architecture"]), alpha, pairs)


def write(
    path: Path, made: Adapter, change: Callable[[dict[str, np.ndarray]], object] = lambda tensors: None, **keys: Any
) -> Path:
    """The adapter's file. `change` may change the tensors, `keys` the values of metadata (None leaves one out)."""
    values: dict[str, Any] = {"type": "adapter", "adapter": "lora", "alpha": made.alpha, **keys}
    writer = package.GGUFWriter(path, values.get("arch", made.architecture))
    if values["type"] is not None:
        writer.add_type(values["type"])
    if values["adapter"] is not None:
        writer.add_string("adapter.type", values["adapter"])
    if isinstance(values["alpha"], str):
        writer.add_string("adapter.lora.alpha", values["alpha"])
    elif values["alpha"] is not None:
        writer.add_float32("adapter.lora.alpha", values["alpha"])
    if "tokens" in values:
        writer.add_array("adapter.alora.invocation_tokens", values["tokens"])
    tensors = {}
    for name, pair in made.pairs.items():
        embedding = name == "token_embd.weight"  # whose rows are taken: A [tokens, r], B [width, r]
        tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"] = (pair.b, pair.a.T) if embedding else (pair.a, pair.b)
    change(tensors)
    for name, array in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def factor(made: Adapter, name: str) -> float:
    """What b @ a is multiplied by, as the paper and llama.cpp have it."""
    return made.alpha / len(made.pairs[name].a) if made.alpha != 0.0 else 1.0


def merged(model: Path, adapters: list[tuple[Adapter, float]], out: Path) -> Path:
    """The model with W + scale · alpha / r · B A in float64 in place of each weight, as F32."""
    from edgeq import quants

    with gguf.open(model) as file:
        tensors = {}
        for name, tensor in file.tensors.items():
            values = quants.dequantize(tensor.data, tensor.format).reshape(tensor.shape).astype(np.float64)
            for made, scale in adapters:
                if pair := made.pairs.get(name):
                    values += scale * factor(made, name) * (pair.b.astype(np.float64) @ pair.a)
            tensors[name] = values.astype(np.float32)
        rows = [(name, array.shape, "F32") for name, array in tensors.items()]
        with gguf.Writer(out, file.metadata, rows) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
    return out
