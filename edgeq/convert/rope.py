"""Rotary positions: what config.json says of them, as GGUF keys and tensors.

Checkpoints name them in `rope_parameters` (transformers 5), or in `rope_scaling` beside `rope_theta` (before); each
may have one set for all layers, or one for full and one for sliding attention. The formulas are those of
transformers' modeling_rope_utils; what the keys mean is llama.cpp's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.convert.hparams import LARGEST, Hparams
from edgeq.errors import ModelError, shown
from edgeq.gguf import Value
from edgeq.record import Record

PLAIN = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}  # parameters of positions that are not scaled


class Rope(Record):
    """Keys below `ARCH.`, vectors that go into the file as tensors, and what the file cannot say."""

    keys: dict[str, Value]
    tensors: dict[str, NDArray[np.float32]]
    warnings: tuple[str, ...] = ()


def rope(h: Hparams, factors: bool) -> Rope:
    """Rotary positions of a model. `factors`: the architecture reads tensors with a divisor for each frequency.

    Raises ModelError for a kind of scaling that GGUF cannot hold."""
    full, sliding = parameters(h)
    p = Hparams(full)
    kind = p.word("rope_type", p.get("type", "default")).lower()
    keys = {"rope.freq_base": f32(p.number("rope_theta"))}
    if sliding is not None:
        keys["rope.freq_base_swa"] = f32(Hparams(sliding).number("rope_theta"))
        if sliding.get("rope_type", "default") != "default":
            raise ModelError("config.json: rope scaling of sliding attention; GGUF has none")
    warnings: tuple[str, ...] = ()
    tensors: dict[str, NDArray[np.float32]] = {}
    if kind in ("llama3", "longrope", "su") and not factors:
        raise ModelError(f"config.json: rope scaling {kind!r}; GGUF has it for llama alone")
    if p.get("partial_rotary_factor", h.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ModelError("config.json: partial_rotary_factor; these architectures turn whole heads")
    if kind == "linear":
        keys |= _scaling("linear", factor=f32(p.number("factor")))
    elif kind == "yarn":
        keys |= yarn(h, p)
    elif kind in ("longrope", "su"):
        more, tensors = longrope(h, p)
        keys |= more
    elif kind == "llama3":
        tensors["rope_freqs.weight"] = llama3(h, p)
    elif kind == "dynamic":
        warnings = (f"rope scaling 'dynamic' has no form in GGUF; right up to {h.context} tokens, where it begins",)
    elif kind == "default":
        if lost := sorted(p.config.keys() - PLAIN):
            why = f"is {kind!r}" if {"rope_type", "type"} & p.config.keys() else "is missing"
            rest = shown(", ".join(lost), 80)
            warnings = (f"config.json: rope_type {why}, so nothing is scaled and {rest} left out",)
    else:
        raise ModelError(
            f"config.json: rope scaling {shown(kind, 40)!r} is not known; known are default, linear, dynamic, yarn, "
            "longrope, llama3"
        )
    return Rope(keys, tensors, warnings)


def parameters(h: Hparams) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The parameters of full attention, and of sliding attention where it has its own."""
    found = dict(h.table("rope_parameters") or h.table("rope_scaling") or {})
    full, sliding = found, None
    if "full_attention" in found or "sliding_attention" in found:
        tables = Hparams(found)
        full, sliding = dict(tables.table("full_attention") or {}), tables.table("sliding_attention")
    elif "rope_local_base_freq" in h:
        sliding = {"rope_theta": h.get("rope_local_base_freq")}
    full.setdefault("rope_theta", h.get("rope_theta", 10000.0))
    return full, sliding


def yarn(h: Hparams, p: Hparams) -> dict[str, Value]:
    """Keys of YaRN. Runtimes multiply cos and sin by 0.1 ln(factor) + 1; `attn_factor` comes on top of that, so it
    is written where the checkpoint wants another product."""
    factor, base = p.number("factor"), p.number("rope_theta")
    if np.float32(base) <= 1:
        raise ModelError(f"config.json: rope_theta {base:g} of yarn; expected over 1 as float32")
    if factor < 1:
        raise ModelError(f"config.json: factor {factor:g} of yarn; expected 1 or more")
    if not p.flag("truncate", True):
        raise ModelError("config.json: yarn without truncation of its ramp; GGUF has no key for it")
    keys = _scaling("yarn", factor=f32(factor), original_context_length=u32(_original(h, p)))
    for name in ("beta_fast", "beta_slow"):
        if p.get(name) is not None:
            keys[f"rope.scaling.yarn_{name}"] = f32(p.number(name))

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    wanted = mscale(1.0)
    if p.get("attention_factor") is not None:
        wanted = p.number("attention_factor")
    elif p.get("mscale") and p.get("mscale_all_dim"):
        wanted = mscale(p.number("mscale")) / mscale(p.number("mscale_all_dim"))
    extra = wanted / (0.1 * math.log(factor) + 1.0)
    if abs(extra - 1.0) > 1e-6:
        keys["rope.scaling.attn_factor"] = f32(extra)
    return keys


def longrope(h: Hparams, p: Hparams) -> tuple[dict[str, Value], dict[str, NDArray[np.float32]]]:
    """Keys and both tables of LongRoPE: divisors for texts within the original context and beyond."""
    original = _original(h, p)
    if original < 2:
        raise ModelError(f"config.json: original_max_position_embeddings {original} of longrope; expected over 1")
    factor = p.number("factor", h.context / original)
    default = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    keys = _scaling(
        "longrope", attn_factor=f32(p.number("attention_factor", default)), original_context_length=u32(original)
    )
    tensors = {
        f"rope_factors_{kind}.weight": _vector(p.get(f"{kind}_factor"), h.head_dim // 2, f"{kind}_factor")
        for kind in ("long", "short")
    }
    return keys, tensors


def llama3(h: Hparams, p: Hparams) -> NDArray[np.float32]:
    """Divisors of Llama 3.1: 1 for fast frequencies, `factor` for slow ones, between them a ramp of the inverses."""
    original, factor = _original(h, p), p.number("factor", 8.0)
    low, high = p.number("low_freq_factor", 1.0), p.number("high_freq_factor", 4.0)
    if low >= high:
        raise ModelError(f"config.json: low_freq_factor {low:g} is not under high_freq_factor {high:g}")
    frequencies = p.number("rope_theta") ** (-np.arange(0, h.head_dim, 2) / h.head_dim)
    turns = original * frequencies / (2 * math.pi)  # within the original context
    ramp = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - ramp) / factor + ramp)).astype(np.float32)


def _original(h: Hparams, p: Hparams) -> int:
    """The context before it was extended; what stands beside the rope's parameters wins, as in transformers."""
    key = "original_max_position_embeddings"
    return (h if key in h else p).count(key, h.context)


def _vector(values: object, length: int, name: str) -> NDArray[np.float32]:
    good = isinstance(values, Sequence) and len(values) == length
    if not good or not all(type(v) in (int, float) and 0 < v <= LARGEST for v in values):  # type: ignore[attr-defined]
        raise ModelError(f"config.json: {name} of rope scaling; expected {length} numbers over 0, at most {LARGEST:g}")
    rounded = np.array(values, np.float32)
    if not rounded.all():
        raise ModelError(f"config.json: {name} of rope scaling has a number that is 0 as float32; expected more")
    return rounded


def _scaling(kind: str, **keys: Value) -> dict[str, Value]:
    return {"rope.scaling.type": Value("string", kind)} | {f"rope.scaling.{k}": v for k, v in keys.items()}


def f32(value: float) -> Value:
    return Value("f32", value)


def u32(value: int) -> Value:
    return Value("u32", value)
