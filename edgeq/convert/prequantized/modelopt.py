"""NVIDIA's ModelOpt: FP8 weights with a scale each. Scales of activations and of the cache are left out."""

from __future__ import annotations

from typing import Any

from edgeq.convert.prequantized import fp8
from edgeq.convert.safetensors import Tensor
from edgeq.convert.source import Source
from edgeq.errors import ModelError, shown

ALGORITHM = "FP8"


def sources(settings: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Source]:
    """Every weight of the checkpoint in FP8. ModelError for the other algorithms of ModelOpt."""
    found = settings.get("quant_algo")
    if found != ALGORITHM:
        raise ModelError(
            f"config.json: quant_algo {shown(found, 40)!r} of ModelOpt; known is {ALGORITHM}. Convert the model's "
            "unquantized checkpoint"
        )
    return fp8.sources({}, tensors)
