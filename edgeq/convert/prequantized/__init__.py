"""Checkpoints that are quantized already: the method that config.json names → a module with `sources`.

`sources(settings, tensors)` takes the raw tensors, removes those that belong to quantized weights, and returns the
weights by the name they would have unquantized. To add a method: a file beside this and a row in METHODS."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeq.convert.checkpoint import Checkpoint, model_config
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Source
from edgeq.errors import ModelError, shown

METHODS = {
    "gptq": "gptq", "awq": "awq", "bitsandbytes": "bnb", "compressed-tensors": "compressed", "fp8": "fp8",
    "fbgemm_fp8": "fp8", "modelopt": "modelopt",
}  # fmt: skip
FP8 = ("F8_E4M3", "F8_E5M2")
SETTINGS_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
"""Where the settings were before config.json held them."""


def sources(checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Source]]:
    """The method ("" for none) and every quantized weight; their parts are removed from `tensors`.

    Raises ModelError for a method or a packing that edgeq does not know, and for parts that are missing or do
    not fit together."""
    found = settings(checkpoint)
    if found is None:
        return "", {}
    method = found.get("quant_method")
    if method is None and (found.get("load_in_4bit") or found.get("load_in_8bit")):
        method = "bitsandbytes"  # as before the key existed
    if not isinstance(method, str) or method not in METHODS:
        raise ModelError(
            f"config.json: quantization method {shown(method, 60)!r} is not known; known are {', '.join(METHODS)}. "
            "Convert the model's unquantized checkpoint"
        )
    module = import_module(f"edgeq.convert.prequantized.{METHODS[method]}")
    weights: dict[str, Source] = module.sources(found, tensors)
    for name, tensor in tensors.items():  # what no method took would count as floats
        if tensor.dtype in FP8:
            base = shown(name.removesuffix(".weight"))
            raise ModelError(
                f"tensor {base}.weight_scale (or weight_scale_inv) is missing; {shown(name)} is FP8 of a quantized "
                "checkpoint and needs it. Fetch the checkpoint again"
            )
    return method, weights


def settings(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """What the checkpoint says of its quantization, or None."""
    found = model_config(checkpoint.config).get("quantization_config")
    if found is None:
        for name, method in SETTINGS_FILES.items():
            if (own := checkpoint.json(name)) is not None:
                inner = own.get("quantization") if method == "modelopt" else own
                return {"quant_method": method, **(inner if isinstance(inner, dict) else {})}
        return None
    if not isinstance(found, dict):
        raise ModelError(f"config.json: quantization_config is {shown(found, 40)}; expected a JSON object")
    return found
