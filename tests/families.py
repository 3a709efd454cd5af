"""Small random models of every family, in memory: metadata and tensors as a GGUF file would have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq import archs
from edgeq.config import Keys
from edgeq.program import Program
from tests.blocks import MemoryWeights, filled


class NoTensors:
    """What `lower` asks of a file, for a file that has only what is named."""

    def __init__(self, *names: str, **values: list[float]) -> None:
        self.names = set(names) | set(values)
        self._values = values

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def values(self, name: str, length: int) -> list[float]:
        assert len(self._values[name]) == length
        return self._values[name]


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention.head_count_kv": 2},
    "qwen2": {"attention.head_count_kv": 1, "rope.freq_base": 1e6},
    "qwen3": {"attention.head_count_kv": 2, "attention.key_length": 32, "attention.value_length": 32},
    "gemma3": {"attention.head_count_kv": 1, "attention.key_length": 32, "attention.value_length": 32,
               "attention.sliding_window": 16, "rope.freq_base": 1e6},
}  # fmt: skip
VOCAB, WIDTH, HEADS, FF, LAYERS = 96, 64, 4, 96, 7


def metadata(family: str, **more: Any) -> dict[str, Any]:
    common = {"block_count": LAYERS, "embedding_length": WIDTH, "attention.head_count": HEADS,
              "feed_forward_length": FF, "context_length": 512, "attention.layer_norm_rms_epsilon": 1e-5}  # fmt: skip
    values = {**common, **FAMILIES[family], **more}
    return {"general.architecture": family, **{f"{family}.{k}": v for k, v in values.items() if v is not None}}


def lower(family: str, tensors: NoTensors | None = None, context: int = 512, **more: Any) -> Program:
    name, arch = archs.find(metadata(family))
    if tensors is None:
        biases = [f"blk.{i}.attn_{n}.bias" for i in range(LAYERS) for n in "qkv"] if family == "qwen2" else []
        tensors = NoTensors(*biases)
    program: Program = arch.lower(Keys(metadata(family, **more), name), tensors, VOCAB, context)
    return program


def weights(program: Program, fmt: str = "Q8_0", seed: int = 0) -> MemoryWeights:
    refs = [(t.name, t.shape) for t in program.tensors if t.values is None]
    return filled(np.random.default_rng(seed), refs, {}, fmt, 0.15)
