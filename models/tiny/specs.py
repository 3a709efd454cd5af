"""The tiny models: one per architecture and per thing an architecture may do, and one per weight format.

Owns their shapes and switches. The numbers are small but keep the relations that matter: grouped queries,
heads wider than width / heads, windows shorter than the test text, contexts beyond the original one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from models.tiny.blocks import TensorType
from models.tiny.vocab import Vocabulary, bpe, spm


@dataclass(frozen=True)
class Spec:
    """One tiny model. `head_dim` None: width / heads, and no key in the file, as converters do."""

    name: str
    arch: str
    vocab: str  # one of VOCABULARIES
    width: int = 64
    layers: int = 2
    ff: int = 112
    heads: int = 4
    kv_heads: int = 2
    head_dim: int | None = None
    tied: bool = False
    bias: tuple[str, ...] = ()  # tensors of a layer that have one, as "attn_q"
    base: float = 10000.0
    eps: float = 1e-5
    context: int = 512
    window: int = 0
    softcap: float = 0.0
    scaling: dict[str, str | float | int] = field(default_factory=dict)  # rope.scaling.*
    rope_factors: dict[str, tuple[float, ...]] = field(default_factory=dict)  # tensor name -> one per pair
    kind: TensorType = TensorType.F32
    scales: bool = False  # a `.scale` tensor beside every weight of a layer, as NVFP4 checkpoints have

    @property
    def head_width(self) -> int:
        return self.head_dim or self.width // self.heads

    def vocabulary(self) -> Vocabulary:
        return VOCABULARIES[self.vocab]()


VOCABULARIES = {
    "llama-spm": lambda: spm(384, gemma=False),
    "gemma-spm": lambda: spm(384, gemma=True),
    "llama-bpe": lambda: bpe(320, "llama-bpe", bos=True),
    "smollm": lambda: bpe(320, "smollm", bos=False),
    "qwen2": lambda: bpe(320, "qwen2", bos=False),
    "format": lambda: bpe(288, "smollm", bos=False),
}

QKV = ("attn_q", "attn_k", "attn_v")
MLP = ("ffn_gate", "ffn_up", "ffn_down")
LONGROPE: dict[str, tuple[float, ...]] = {
    "rope_factors_long": (1.0, 1.25, 1.75, 2.5, 4.0, 6.5, 9.0, 12.0),
    "rope_factors_short": (1.0, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75),
}


def llama3_factors(
    dim: int, base: float, factor: float, low: float, high: float, original: int
) -> tuple[float, ...]:
    """Llama 3.1's rope factors, as `rope_freqs` holds them: 1 for fast pairs, `factor` for slow ones, a blend
    between. `low` and `high` bound, in turns within the original context, the pairs that are blended."""
    out = []
    for pair in range(dim // 2):
        turns = original * base ** (-2.0 * pair / dim) / (2 * 3.141592653589793)
        keep = min(1.0, max(0.0, (turns - low) / (high - low)))
        out.append(1.0 / ((1.0 - keep) / factor + keep))
    return tuple(out)


_LLAMA = Spec("llama", "llama", "smollm")
_QWEN2 = Spec("qwen2", "qwen2", "qwen2", bias=QKV, base=1e6, eps=1e-6)
_GEMMA3 = Spec(
    "gemma3", "gemma3", "gemma-spm", layers=7, ff=48, heads=2, kv_heads=1, head_dim=48, tied=True, base=1e6,
    eps=1e-6, window=16,
)  # fmt: skip
_LONGROPE = replace(_LLAMA, context=4096, rope_factors=LONGROPE)

ARCHS = (
    replace(_LLAMA, name="llama-spm", vocab="llama-spm"),
    replace(_LLAMA, name="llama-bias", kv_heads=4, head_dim=24, bias=(*QKV, "attn_output"), tied=True),
    replace(_LLAMA, name="llama-mlp-bias", bias=MLP, eps=0.02),
    replace(
        _LLAMA, name="llama3", vocab="llama-bpe", base=500000.0, context=1024, tied=True,
        rope_factors={"rope_freqs": llama3_factors(16, 500000.0, 8.0, 1.0, 4.0, 64)},
    ),
    replace(_LLAMA, name="llama-linear", context=2048, scaling={"type": "linear", "factor": 4.0}),
    replace(
        _LLAMA, name="llama-yarn", context=256,
        scaling={"type": "yarn", "factor": 4.0, "original_context_length": 64},
    ),
    # The factors are chosen by the context that a session has: long beyond the original one, else short.
    replace(
        _LONGROPE, name="llama-longrope-long",
        scaling={"type": "longrope", "attn_factor": 1.19, "original_context_length": 64},
    ),
    replace(
        _LONGROPE, name="llama-longrope-short",
        scaling={"type": "longrope", "attn_factor": 1.19, "original_context_length": 1024},
    ),
    _QWEN2,
    replace(
        _QWEN2, name="qwen2-yarn", tied=True, context=8192,
        scaling={"type": "yarn", "factor": 4.0, "original_context_length": 2048},
    ),
    Spec("qwen3", "qwen3", "qwen2", heads=4, kv_heads=2, head_dim=32, base=1e6, eps=1e-6, tied=True),
    _GEMMA3,
    replace(_GEMMA3, name="gemma3-linear", softcap=8.0, eps=0.01, scaling={"type": "linear", "factor": 8.0}),
)  # fmt: skip

_FORMAT = Spec("", "llama", "format", width=256, ff=512)
FORMATS = (
    *(replace(_FORMAT, name=f"format-{kind.name.lower()}", kind=kind) for kind in TensorType),
    replace(_FORMAT, name="format-nvfp4-scale", kind=TensorType.NVFP4, scales=True),
)

SPECS = {spec.name: spec for spec in (*ARCHS, *FORMATS)}
