"""A float model that no quantizer has seen: the weights of a real one, its channels in another order.

    python -m bench.permuted MODEL.gguf OUT.gguf [--seed 1]

Public small models are quantized already: their numbers lie on a grid that the same format finds again. With the order
of channels changed each block holds numbers of many blocks. Residual channels change places in the whole model,
feed-forward channels in each layer, values in each head; none of that changes what the model computes. OUT is F16.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeq import gguf, quants
from edgeq.errors import ModelError

if TYPE_CHECKING:
    from edgeq.gguf import GGUFFile

RESIDUAL = (
    "output_norm.weight", "attn_norm.weight", "ffn_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight",
)  # fmt: skip
ORDERED = ("attn_q.bias", "attn_k.bias", "attn_q_norm.weight", "attn_k_norm.weight", "rope_freqs.weight")
"""Of the residual channels; and of what rotary positions or heads give an order."""


class Orders:
    """Random orders of all channels of a model. ModelError where its metadata does not say how many there are.

    `residual`: [width]; of each layer `feed_forward`: [inner width], `values`: [rows of attn_v], `read`: [columns of
    attn_output], which query heads that share a key head repeat.
    """

    def __init__(self, file: GGUFFile, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arch = file.metadata["general.architecture"]

        def size(key: str) -> int:
            value = file.metadata.get(f"{arch}.{key}")
            if not isinstance(value, int):
                raise ModelError(f"{arch}.{key}: expected a number, found {value!r}; this script needs layers alike")
            return value

        layers, heads, kv = size("block_count"), size("attention.head_count"), size("attention.head_count_kv")
        width = file.metadata.get(f"{arch}.attention.value_length") or size("embedding_length") // heads
        self.residual = rng.permutation(size("embedding_length"))
        self.feed_forward = [rng.permutation(size("feed_forward_length")) for _ in range(layers)]
        within = [[rng.permutation(width) for _ in range(kv)] for _ in range(layers)]
        self.values = [np.concatenate([h * width + order for h, order in enumerate(orders)]) for orders in within]
        self.read = [np.concatenate([h * width + orders[h * kv // heads] for h in range(heads)]) for orders in within]

    def apply(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The tensor with its rows and columns in the new orders. ModelError for one that is not known here."""
        found = re.fullmatch(r"blk\.(\d+)\.(.*)", name)
        layer, part = (int(found[1]), found[2]) if found else (-1, name)
        if part in ORDERED:
            return x
        if part in RESIDUAL:
            return x[self.residual]
        if part in ("token_embd.weight", "output.weight", "attn_q.weight", "attn_k.weight"):
            return x[:, self.residual]
        if part == "attn_v.weight":
            return x[:, self.residual][self.values[layer]]
        if part == "attn_v.bias":
            return x[self.values[layer]]
        if part == "attn_output.weight":
            return x[self.residual][:, self.read[layer]]
        if part in ("ffn_gate.weight", "ffn_up.weight"):
            return x[:, self.residual][self.feed_forward[layer]]
        if part == "ffn_down.weight":
            return x[self.residual][:, self.feed_forward[layer]]
        raise ModelError(f"tensor {name}: expected one of llama, qwen2, qwen3 or gemma3; nothing was written")


def write(source: str, target: str, seed: int = 1, kind: str = "F16") -> None:
    """Writes `source`, dequantized and permuted, as `target`: matrices as `kind` (F16 or F32), the rest as F32.

    ModelError as of Orders."""
    with gguf.open(source) as file:
        orders = Orders(file, seed)
        metadata = {**file.metadata.typed(), "general.file_type": gguf.Value("u32", {"F32": 0, "F16": 1}[kind])}
        kinds = {t.name: kind if len(t.shape) > 1 else "F32" for t in file.tensors.values()}
        rows = [gguf.tensor_info(t.name, t.shape, quants.FORMATS[kinds[t.name]]) for t in file.tensors.values()]
        with gguf.Writer(target, metadata, rows, overwrite=True, sources=[source]) as writer:
            for t in file.tensors.values():
                x = quants.dequantize(t.data, t.format).reshape(t.shape).astype(np.float32)
                writer.write(t.name, quants.quantize(np.ascontiguousarray(orders.apply(t.name, x)), kinds[t.name]))


def main() -> None:
    parser = argparse.ArgumentParser(description="A float model whose weights lie on no grid")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write(arguments.model, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
