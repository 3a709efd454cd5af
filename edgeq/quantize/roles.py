"""Which role a tensor has in a mix, and the conditions of rules: where in the model it stands, and what model it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import dropwhile
from typing import Any

from edgeq.quantize.mixes import KEPT, KEPT_BY_ARCH, KEPT_WHOLE
from edgeq.record import Record

_LAYER = re.compile(r"blk\.(\d+)\.")
# In this order: the first part that a name contains.
_ROLES = (
    ("attn_qkv.weight", "attn_v"), ("attn_kv_b.weight", "attn_v"), ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"), ("attn_q.weight", "attn_q"), ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"), ("ffn_down", "ffn_down"),
)  # fmt: skip
COUNTED = ("attn_v", "ffn_up", "ffn_gate", "ffn_down")


def role_of(name: str) -> str:
    """output, token_embd, one of attention or the feed-forward, or other."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((role for part, role in _ROLES if part in name), "other")


def is_multiplied(name: str) -> bool:
    """Whether what this weight gives is multiplied by what another gives: see `edgeq.quants.gain`."""
    return role_of(name) in ("ffn_gate", "ffn_up")


def layer_of(name: str) -> int:
    """The layer in a name, -1 outside of layers."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def kept(name: str, shape: tuple[int, ...], arch: str) -> str | None:
    """Why a tensor is never quantized, or None: vectors, norms, and small matrices that are read in other ways."""
    if len(list(dropwhile(lambda n: n == 1, shape))) < 2:
        return "a vector"
    if not name.endswith("weight"):
        return "no weight of a product"
    if name in KEPT_WHOLE or any(part in name for part in (*KEPT, *KEPT_BY_ARCH.get(arch, ()))):
        return "small, or read in another way"
    return None


class Facts(Record):
    """What the conditions ask of a model."""

    arch: str
    layers: int
    gqa: int  # query heads to a key head
    experts: int
    is_70b: bool
    values: int  # attn_v and alike
    imatrix: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any], names: Iterable[str], imatrix: bool) -> Facts:
        """From the metadata of a GGUF model; what it does not say counts as zero."""
        arch = str(metadata.get("general.architecture", ""))

        def number(key: str, default: int = 0) -> int:
            value = metadata.get(f"{arch}.{key}", default)
            if hasattr(value, "__len__") and not isinstance(value, (str, bytes)):  # a number for each layer
                value = value[0] if len(value) else default
            return value if isinstance(value, int) else default

        layers, heads = number("block_count"), number("attention.head_count")
        kv = number("attention.head_count_kv", heads)
        big = (arch == "llama" and heads != kv) or arch in ("qwen2", "deci", "olmo")
        return cls(
            arch, layers, heads // kv if kv > 0 else 0, number("expert_count"),
            (big and layers == 80) or (arch == "jais2" and layers == 68),
            sum(role_of(name) == "attn_v" for name in names), imatrix,
        )  # fmt: skip


class Place(Record):
    """Where a tensor stands: the layer by which rules count, of how many, and how many of its role came before."""

    index: int
    of: int
    before: int
    stacked: bool


def _more_bits(p: Place) -> bool:
    """The first and last eighth, and each third layer between."""
    eighth = p.of // 8
    return p.index < eighth or p.index >= 7 * p.of // 8 or (p.index - eighth) % 3 == 2


CONDITIONS: dict[str, Callable[[Facts, Place], bool]] = {
    "first-2": lambda f, p: p.before < 2,
    "first-4": lambda f, p: p.before < 4,
    "first-8th": lambda f, p: p.index < p.of // 8,
    "counted-first-8th": lambda f, p: p.before < p.of // 8,
    "first-16th": lambda f, p: p.index < p.of // 16,
    "middle": lambda f, p: p.of // 8 <= p.index < 7 * p.of // 8,
    "more-bits": lambda f, p: _more_bits(p),
    "stacked": lambda f, p: p.stacked,
    "gqa": lambda f, p: f.gqa >= 4,
    "70b": lambda f, p: f.is_70b,
    "4-experts": lambda f, p: f.experts >= 4,
    "8-experts": lambda f, p: f.experts == 8,
    "not-8-experts": lambda f, p: f.experts != 8,
    "imatrix": lambda f, p: f.imatrix,
    "no-imatrix": lambda f, p: not f.imatrix,
    "falcon": lambda f, p: f.arch == "falcon",
    "not-falcon": lambda f, p: f.arch != "falcon",
}
