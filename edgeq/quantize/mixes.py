"""The mixes of llama-quantize as data: which tensor gets which format in a file called Q4_K_M.

A mix has a default format and rules. A rule names a role of tensors, the format that those get, and under which
conditions; the first rule that fits counts. The conditions are in `roles.py`. Facts from llama.cpp (October 2026,
src/llama-quant.cpp; MIT licence); a test holds them against that program's choices.
"""

from __future__ import annotations

from edgeq.record import Record


class Rule(Record):
    """Tensors of `role` get `format` where all of `when` hold."""

    role: str
    format: str
    when: tuple[str, ...] = ()


class Mix(Record):
    """`file_type`: what general.file_type says; `output`: the format of the output matrix, or of the embeddings where
    they serve as one; `low`: of very few bits, of little use without an importance matrix."""

    file_type: int
    default: str
    rules: tuple[Rule, ...] = ()
    output: str = "Q6_K"
    low: bool = False


def _all(role: str, *pairs: tuple[str, str]) -> tuple[Rule, ...]:
    """Rules for one role: (format, conditions apart by spaces)."""
    return tuple(Rule(role, fmt, tuple(when.split())) for fmt, when in pairs)


# Where 8 experts share attention, its small tensors cost nothing.
_MOE_V = _all("attn_v", ("Q8_0", "8-experts"))
_MOE_K = _all("attn_k", ("Q8_0", "8-experts"))
_MOE_O = _all("attn_output", ("Q5_K", "8-experts not-falcon"))
_MOE = _MOE_V + _MOE_K
# In 70B models 8 heads share attn_v.
_BIG_V = _all("attn_v", ("Q5_K", "70b"))


def _low_bits(down: str, value: str, output: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What the IQ1 and IQ2 mixes share."""
    return (
        *_all("attn_v", ("Q4_K", "gqa"), ("Q4_K", "4-experts"), (value, "")),
        *_all("attn_k", ("Q4_K", "8-experts")),
        *_all("ffn_down", (down, "counted-first-8th")),
        *_all("attn_output", ("Q5_K", "8-experts")),
        *output,
    )


_IQ1 = _low_bits("Q2_K", "Q2_K", _all("attn_output", ("IQ2_XXS", "")))
_IQ2_X = _low_bits("Q2_K", "Q2_K", ())
_IQ2_S = _low_bits("IQ3_S", "IQ3_S", _all("attn_output", ("IQ3_S", "")))
_EMBED_2 = _all("token_embd", ("Q2_K", ""))
_EMBED_3 = _all("token_embd", ("IQ3_S", ""))
_EMBED_4 = _all("token_embd", ("Q4_K", ""))

MIXES: dict[str, Mix] = {
    "F32": Mix(0, "F32", output=""),
    "F16": Mix(1, "F16", output=""),
    "BF16": Mix(32, "BF16", output=""),
    "Q8_0": Mix(7, "Q8_0", _MOE, output="Q8_0"),
    "Q4_0": Mix(2, "Q4_0", _MOE + _all("ffn_down", ("Q4_1", "imatrix first-8th"))),
    "Q4_1": Mix(3, "Q4_1", _MOE),
    "Q5_0": Mix(8, "Q5_0", _MOE + _all("ffn_down", ("Q5_1", "imatrix first-8th"))),
    "Q5_1": Mix(9, "Q5_1", _MOE),
    "Q2_K": Mix(10, "Q2_K", (
        *_MOE, *_all("attn_v", ("Q5_K", "70b"), ("Q4_K", "gqa"), ("Q3_K", "")),
        *_all("ffn_down", ("Q3_K", "")), *_MOE_O, *_all("attn_output", ("Q3_K", "not-falcon")),
    )),
    "Q2_K_S": Mix(21, "Q2_K", (
        *_MOE, *_all("attn_v", ("Q5_K", "gqa 70b"), ("Q4_K", "gqa")), *_all("ffn_down", ("Q4_K", "first-8th")),
    ), low=True),
    "Q3_K_S": Mix(11, "Q3_K", (*_MOE, *_BIG_V, *_MOE_O)),
    "Q3_K_M": Mix(12, "Q3_K", (
        *_MOE, *_all("attn_v", ("Q5_K", "first-2"), ("Q5_K", "70b"), ("Q4_K", "")),
        *_all("ffn_down", ("Q5_K", "first-16th"), ("Q4_K", "not-falcon"), ("Q4_K", "more-bits")),
        *_MOE_O, *_all("attn_output", ("Q4_K", "not-falcon")),
    )),
    "Q3_K_L": Mix(13, "Q3_K", (
        *_MOE, *_all("attn_v", ("Q5_K", "")), *_all("ffn_down", ("Q5_K", "not-falcon"), ("Q4_K", "")),
        *_all("attn_output", ("Q4_K", "falcon"), ("Q5_K", "not-8-experts")),
    )),
    "Q4_K_S": Mix(14, "Q4_K", (
        *_MOE, *_all("attn_v", ("Q5_K", "first-4")), *_BIG_V, *_all("ffn_down", ("Q5_K", "not-falcon first-8th")),
        *_MOE_O,
    )),
    "Q4_K_M": Mix(15, "Q4_K", (
        *_MOE, *_all("attn_v", ("Q6_K", "more-bits")), *_BIG_V,
        *_all("ffn_down", ("Q6_K", "not-falcon more-bits")),
        *_all("ffn_down", ("Q6_K", "falcon first-16th"), ("Q5_K", "falcon more-bits")),
        *_MOE_O,
    )),
    "Q5_K_S": Mix(16, "Q5_K", _MOE),
    "Q5_K_M": Mix(17, "Q5_K", (
        *_MOE, *_all("attn_v", ("Q6_K", "more-bits")), *_all("ffn_down", ("Q6_K", "more-bits")),
    )),
    "Q6_K": Mix(18, "Q6_K", _MOE),
    "IQ1_S": Mix(24, "IQ1_S", _IQ1 + _EMBED_2, output="Q5_K", low=True),
    "IQ1_M": Mix(31, "IQ1_M", _IQ1 + _EMBED_2, output="Q5_K", low=True),
    "IQ2_XXS": Mix(19, "IQ2_XXS", _IQ2_X + _EMBED_2, output="Q5_K", low=True),
    "IQ2_XS": Mix(20, "IQ2_XS", _IQ2_X + _EMBED_2, output="Q5_K", low=True),
    "IQ2_S": Mix(28, "IQ2_XS", _IQ2_S + _EMBED_3, output="Q5_K", low=True),
    "IQ2_M": Mix(29, "IQ2_S", _IQ2_S + _EMBED_3, output="Q5_K", low=True),
    "IQ3_XXS": Mix(23, "IQ3_XXS", (
        *_MOE, *_all("attn_v", ("Q5_K", "gqa 70b"), ("Q4_K", "gqa"), ("IQ3_S", "no-imatrix"), ("IQ3_XXS", "")),
        *_all("attn_k", ("IQ2_S", "")), *_all("attn_q", ("IQ2_S", "")),
        *_all("ffn_down", ("Q4_K", "no-imatrix first-8th"), ("Q3_K", "no-imatrix")),
        *_MOE_O, *_all("attn_output", ("IQ3_S", "not-falcon")), *_EMBED_3,
    ), output="Q5_K", low=True),
    "IQ3_XS": Mix(22, "IQ3_S", (
        *_MOE, *_all("attn_v", ("Q5_K", "gqa 70b"), ("Q4_K", "gqa")), *_all("attn_k", ("IQ3_XXS", "")),
        *_all("attn_q", ("IQ3_XXS", "")), *_all("ffn_gate", ("IQ3_XXS", "middle")),
        *_all("ffn_up", ("IQ3_XXS", "middle")), *_MOE_O,
    )),
    "IQ3_S": Mix(26, "IQ3_S", (*_MOE, *_all("attn_v", ("Q5_K", "gqa 70b"), ("Q4_K", "gqa")), *_MOE_O)),
    "IQ3_M": Mix(27, "IQ3_S", (
        *_MOE, *_all("attn_v", ("Q5_K", "70b"), ("Q4_K", "")),
        *_all("ffn_down", ("Q4_K", "first-8th"), ("Q4_K", "8-experts more-bits")),
        *_MOE_O, *_all("attn_output", ("Q4_K", "not-falcon")),
    )),
    "IQ4_NL": Mix(25, "IQ4_NL", (
        *_MOE, *_all("attn_v", ("Q5_K", "gqa")), *_all("ffn_down", ("Q5_K", "no-imatrix first-8th")), *_MOE_O,
    )),
    "IQ4_XS": Mix(30, "IQ4_XS", (
        *_MOE, *_all("attn_v", ("Q5_K", "gqa")), *_all("ffn_down", ("Q5_K", "no-imatrix first-8th")), *_MOE_O,
    )),
    "TQ1_0": Mix(36, "TQ1_0", _MOE + _EMBED_4),
    "TQ2_0": Mix(37, "TQ2_0", _MOE + _EMBED_4),
    "Q1_0": Mix(40, "Q1_0", _MOE),
    "Q2_0": Mix(41, "Q2_0", _MOE + _EMBED_4),
    "MXFP4_MOE": Mix(38, "MXFP4", (Rule("any", "MXFP4", ("stacked",)), Rule("any", "Q8_0")), output="Q8_0"),
    "NVFP4": Mix(39, "NVFP4", _MOE),
}  # fmt: skip

# Not a mix: every tensor stays as it is, and so does what the file says of its type.
COPY = Mix(-1, "", output="")

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}

# Where a row is not whole blocks: the format that comes nearest among those with blocks of 32. Else F16.
FALLBACK = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q2_0": "Q4_0", "Q2_K": "Q4_0", "Q3_K": "Q4_0",
    "TQ1_0": "Q4_0", "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q1_0": "Q4_0", "NVFP4": "MXFP4",
}  # fmt: skip

# Parts of names of matrices that stay as they are: small, or read in other ways than by a product.
KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
    "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
    "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_",
    ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")
KEPT_BY_ARCH = {
    "glm5-next": (
        "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate",
        "indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight",
        "ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight",
    ),
}  # fmt: skip
