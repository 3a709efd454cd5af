"""What a family of models is to the converter: its names, its tensors with what is done to them, and its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.config import EPS_BELOW
from edgeq.convert.hparams import Hparams
from edgeq.convert.rope import Rope, f32, rope, u32
from edgeq.errors import ModelError, shown
from edgeq.gguf import Value
from edgeq.record import Record

EMBEDDING, HEAD = "token_embd.weight", "output.weight"


class Slot(Record):
    """A tensor of the GGUF file, and where a checkpoint keeps it.

    target, source: names; `{}` stands for the layer. shape: names of sizes (Hparams.sizes), row-major.
    optional: checkpoints may lack it. heads: the name of a count of heads; rows of each head go from rotary
    halves (x_i with x_i+n/2) to pairs (x_2i with x_2i+1), which is how GGML's `llama` turns them.
    plus: is added to every value; times: every value is multiplied by it, after that."""

    target: str
    source: str
    shape: tuple[str, ...]
    optional: bool = False
    heads: str = ""
    plus: float = 0.0
    times: float = 1.0

    def of(self, layer: int) -> Slot:
        """The slot of one layer."""
        return self.replace(target=self.target.format(layer), source=self.source.format(layer))


Keys = dict[str, Value]


def _nothing(h: Hparams, slots: list[Slot]) -> list[Slot]:
    return slots


def configured_biases(h: Hparams) -> tuple[str, ...]:
    """The linears whose biases config.json asks for."""
    attention = ("attn_q", "attn_k", "attn_v", "attn_output") if h.flag("attention_bias", False) else ()
    return attention + (("ffn_gate", "ffn_up", "ffn_down") if h.flag("mlp_bias", False) else ())


class Family(Record):
    """An architecture. `classes`: transformers' names of it; `defaults`: what transformers takes where config.json
    is silent; `slots`: its tensors; `activation`: the one its graph has; `factors`: it reads rope_freqs and
    rope_factors tensors; `biases`: linears that must have one; `keys`: metadata of its own, below its name; `warn`:
    what its GGUF form cannot hold; `adjust`: last changes to the slots."""

    arch: str
    classes: tuple[str, ...]
    slots: tuple[Slot, ...]
    keys: Callable[[Hparams], Keys]
    defaults: Mapping[str, Any]
    activation: tuple[str, ...] = ("silu", "swish")
    factors: bool = False
    biases: Callable[[Hparams], tuple[str, ...]] = configured_biases
    warn: Callable[[Hparams], Iterator[str]] = lambda h: iter(())
    adjust: Callable[[Hparams, list[Slot]], list[Slot]] = _nothing

    def hparams(self, config: Mapping[str, Any]) -> Hparams:
        """The checked config. Raises ModelError for what the architecture cannot run."""
        h = Hparams(config, self.defaults)
        name = h.get("hidden_act", h.get("hidden_activation"))
        if name not in self.activation:
            raise ModelError(f"config.json: activation {shown(name, 40)!r}; {self.arch} has {self.activation[0]}")
        if h.heads % h.kv_heads:
            raise ModelError(
                f"config.json: num_attention_heads {h.heads} is no multiple of num_key_value_heads {h.kv_heads}"
            )
        if h.head_dim % 2:
            raise ModelError(f"config.json: heads of {h.head_dim}; rotary positions need an even number")
        return h

    def rope(self, h: Hparams) -> Rope:
        return rope(h, self.factors)

    def tensors(self, h: Hparams) -> list[Slot]:
        """Every slot of a model with this config, in the order of the file: the order in which a step reads them."""
        biases = {f"blk.{{}}.{name}.bias" for name in self.biases(h)}
        slots = [s.replace(optional=False) if s.target in biases else s for s in self.slots]
        first = [s for s in slots if s.target == EMBEDDING]
        layer = [s for s in slots if "{}" in s.target]
        last = [s for s in slots if "{}" not in s.target and s.target != EMBEDDING]
        return self.adjust(h, first + [s.of(i) for i in range(h.layers) for s in layer] + last)

    def metadata(self, h: Hparams, context: int | None = None) -> Keys:
        """The keys below the architecture's name, and of its rotary positions; file-wide ones are elsewhere."""
        own: Keys = {
            "block_count": u32(h.layers),
            "context_length": u32(context or h.context),
            "embedding_length": u32(h.width),
            "feed_forward_length": u32(h.ff),
            "attention.head_count": u32(h.heads),
            "attention.head_count_kv": u32(h.kv_heads),
            "attention.layer_norm_rms_epsilon": f32(h.number("rms_norm_eps", below=EPS_BELOW)),
            **self.rope(h).keys,
            **self.keys(h),
        }
        if "head_dim" in h:  # else runtimes divide the width by the heads
            own |= {"attention.key_length": u32(h.head_dim), "attention.value_length": u32(h.head_dim)}
        return {f"{self.arch}.{name}": value for name, value in own.items()}


def pairs_from_halves(rows: int, heads: int) -> NDArray[np.intp]:
    """Row of the checkpoint that is each row of the file, for `heads` heads: 0, n/2, 1, n/2 + 1 … in each."""
    out: NDArray[np.intp] = np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)
    return out


def tied(h: Hparams, slots: list[Slot]) -> list[Slot]:
    """With a head that may be missing where the config ties it to the embedding."""
    optional = h.flag("tie_word_embeddings", False)
    return [s.replace(optional=optional) if s.target == HEAD else s for s in slots]


def linear(target: str, source: str, rows: str, cols: str, heads: str = "", bias: bool = True) -> tuple[Slot, ...]:
    """The weight of a linear of each layer, and its bias where checkpoints may have one."""
    weight = Slot(f"blk.{{}}.{target}.weight", f"model.layers.{{}}.{source}.weight", (rows, cols), heads=heads)
    if not bias:
        return (weight,)
    return (
        weight,
        Slot(f"blk.{{}}.{target}.bias", f"model.layers.{{}}.{source}.bias", (rows,), optional=True, heads=heads),
    )


def norm(target: str, source: str, size: str = "width", plus: float = 0.0) -> Slot:
    """The weight of a norm of each layer."""
    return Slot(f"blk.{{}}.{target}.weight", f"model.layers.{{}}.{source}.weight", (size,), plus=plus)


def ends(plus: float = 0.0) -> tuple[Slot, ...]:
    """Embedding, last norm, head."""
    return (
        Slot(EMBEDDING, "model.embed_tokens.weight", ("vocab", "width")),
        Slot("output_norm.weight", "model.norm.weight", ("width",), plus=plus),
        Slot(HEAD, "lm_head.weight", ("vocab", "width")),
    )


def attention(permuted: bool = False) -> tuple[Slot, ...]:
    """The four linears of attention. `permuted`: the architecture turns pairs."""
    q, kv = ("heads", "kv_heads") if permuted else ("", "")
    return (
        *linear("attn_q", "self_attn.q_proj", "q", "width", q),
        *linear("attn_k", "self_attn.k_proj", "kv", "width", kv),
        *linear("attn_v", "self_attn.v_proj", "kv", "width"),
        *linear("attn_output", "self_attn.o_proj", "width", "q"),
    )


def gated(bias: bool = True) -> tuple[Slot, ...]:
    """The three linears of a gated feed-forward."""
    return (
        *linear("ffn_gate", "mlp.gate_proj", "ff", "width", bias=bias),
        *linear("ffn_up", "mlp.up_proj", "ff", "width", bias=bias),
        *linear("ffn_down", "mlp.down_proj", "width", "ff", bias=bias),
    )


def window_ignored(h: Hparams) -> Iterator[str]:
    """The warning for a sliding window where the GGUF architecture has none."""
    window = h.get("sliding_window")
    if isinstance(window, int) and window < h.context and h.flag("use_sliding_window", True) and _any_sliding(h):
        yield (
            f"sliding_window {window}: this architecture of GGUF attends to everything, so that beyond {window} "
            "tokens the model is another one"
        )


def _any_sliding(h: Hparams) -> bool:
    """Whether any layer has the window: by their kinds, or by the first layer that has it."""
    types, first = h.get("layer_types"), h.get("max_window_layers", 0)
    if isinstance(types, list):
        return "sliding_attention" in types
    return not isinstance(first, int) or first < h.layers


def output_bias(h: Hparams) -> Iterator[str]:
    """The warning for a bias that edgeq runs, in architectures where llama.cpp has none."""
    if h.flag("attention_bias", False):
        yield "attention_bias: llama.cpp knows no attn_output.bias in this architecture and will not load the file"
