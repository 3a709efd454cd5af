"""Tiny random checkpoints of every architecture and variant that `edgeq convert` takes, with transformers' logits.

    write("gemma3", folder)     config.json, safetensors and a tokenizer in `folder`, the same bytes everywhere
    golden("gemma3")            ids, and the logits of transformers for them (models/make_checkpoints.py)

Weights come from NumPy's RandomState, whose stream is frozen; so only logits are committed, and no checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoints.specs import SPECS, Spec
from models.checkpoints.writer import write_spec

__all__ = ["GOLDEN", "SPECS", "Spec", "golden", "ids", "write", "write_golden"]

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


def golden(name: str, path: Path = GOLDEN) -> NDArray[np.float32]:
    """Another engine's logits [T, V] as `write_golden` kept them: transformers', for `ids`, float32 arithmetic."""
    with np.load(path) as found:
        logits: NDArray[np.float32] = found[name].astype(np.float32) * found[f"{name}.step"]
    return logits


def write_golden(path: Path, logits: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
    """Keeps logits by name, in 16 bits of their largest size."""
    arrays: dict[str, Any] = {}
    for name, found in logits:
        step = np.float32(np.abs(found).max() / 32767)
        arrays[name], arrays[f"{name}.step"] = np.rint(found / step).astype(np.int16), step
        print(name, found.shape, float(found.std()))
    np.savez_compressed(path, **arrays)
