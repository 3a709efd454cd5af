"""Quantization of whole models: mixes as data, a plan for each tensor, streaming into a new file.

    quantize("model-f16.gguf", "model-q4_k_m.gguf", "Q4_K_M", importance=imatrix.load("imatrix.gguf"))

What a format is, and how numbers come into it, is edgeq.quants' affair.
"""

from __future__ import annotations

from edgeq.quantize.mixes import MIXES, Mix, Rule
from edgeq.quantize.plan import Choice, Options, make_plan, mix_named, mix_or_copy, summary
from edgeq.quantize.run import Report, Result, quantize

__all__ = [
    "MIXES", "Choice", "Mix", "Options", "Report", "Result", "Rule", "make_plan", "mix_named", "mix_or_copy",
    "quantize", "summary",
]  # fmt: skip
