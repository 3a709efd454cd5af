"""Tiny random checkpoints of every architecture and variant that `edgeq convert` takes, with transformers' logits.

    write("gemma3", folder)     config.json, safetensors and a tokenizer in `folder`, the same bytes everywhere
    golden("gemma3")            ids, and the logits of transformers for them (models/make_checkpoints.py)

Weights come from NumPy's RandomState, whose stream is frozen; so only logits are committed, and no checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.checkpoints.specs import SPECS, Spec
from models.checkpoints.writer import write_spec

__all__ = ["GOLDEN", "SPECS", "Spec", "golden", "ids", "write"]

GOLDEN = Path(__file__).parent.parent / "golden" / "checkpoints.npz"
TOKENS = 40


def write(name: str, folder: Path) -> Spec:
    """Puts the checkpoint into `folder`; gives what it is."""
    spec = SPECS[name]
    write_spec(spec, folder)
    return spec


def ids(spec: Spec) -> list[int]:
    """The prompt of a checkpoint."""
    drawn: list[int] = np.random.RandomState(7).randint(0, spec.sizes["vocab"], TOKENS).tolist()
    return drawn


def golden(name: str) -> NDArray[np.float32]:
    """transformers' logits [T, V] for `ids`, float32 arithmetic, kept in 16 bits."""
    with np.load(GOLDEN) as found:
        logits: NDArray[np.float32] = found[name].astype(np.float32) * found[f"{name}.step"]
    return logits
