"""Logits as they come in: shape, type, and finite numbers. Not here: what is done to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import BackendError, UsageError, shown
from edgeq.sampling.settings import found

Logits = NDArray[np.float32]

GIVEN = "as given"
HOOKED = "after Sampling.hook"
EDITED = "after Sampling.logit_bias"


def as_logits(values: Any, n: int, what: str) -> Logits:
    """`values` as float32 [n], without a copy if they are; `what` names them in the UsageError."""
    try:
        x = np.asarray(values)
    except Exception:  # ragged lists, tensors of other libraries that refuse: each has its own
        raise UsageError(
            f"{what} must be one vector of {n} float32 numbers; got {found(type(values))}"
        ) from None
    if x.dtype.kind not in "fiu" or x.shape != (n,):
        got = shown(f"{x.dtype} of shape {x.shape}")
        raise UsageError(f"{what} must be one vector of {n} float32 numbers; got {got}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 gives inf, which is reported
        return x.astype(np.float32, copy=False)


def first_maximum(x: Logits, when: str) -> int:
    """Position of the maximum, the first of equals; raises when logits cannot be drawn from.

    BackendError for NaN or +inf (UsageError where a hook made them), UsageError if all are -inf.
    np.argmax is documented to return the first maximum, and treats NaN as the largest value.
    """
    top = int(x.argmax())
    value = float(x[top])
    if math.isfinite(value):
        return top
    if value == -math.inf:
        raise UsageError(
            f"no token is left to choose from: all {x.size} logits are -inf {when}; "
            "leave at least one finite"
        )
    name = "NaN" if math.isnan(value) else "+inf"
    if when == HOOKED:
        raise UsageError(
            f"logit {top} is {name} {when}; a hook leaves finite numbers, or -inf to mask"
        )
    raise BackendError(
        f"logit {top} of {x.size} is {name}, expected a finite number: the model's weights or the "
        "backend are broken; 'edgeq gguf verify' checks the file"
    )
