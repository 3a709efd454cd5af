"""The file-wide metadata: what the model is called, how large it is, how it likes to be sampled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgeq.config import Config, Keys
from edgeq.convert import card, naming
from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.hparams import LARGEST
from edgeq.errors import ModelError, UsageError, shown
from edgeq.gguf import Value

FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 11, "Q4_K": 14,
    "Q5_K": 16, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26,
    "IQ2_S": 28, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4": 38, "NVFP4": 39,
    "Q1_0": 40, "Q2_0": 41,
}  # fmt: skip
"""`general.file_type` of a file whose matrices have one format (llama.h, llama_ftype)."""

QUANTIZATION_VERSION = 2  # of GGML's blocks
SAMPLING = {
    "top_k": ("top_k", "i32"), "top_p": ("top_p", "f32"), "min_p": ("min_p", "f32"), "temperature": ("temp", "f32"),
    "repetition_penalty": ("penalty_repeat", "f32"),
}  # fmt: skip
"""Key of generation_config.json → key below general.sampling, and its type."""

LIMITS = {"i32": (1 << 31) - 1, "f32": LARGEST}


def general(checkpoint: Checkpoint, arch: str, name: str | None, weights: int) -> dict[str, Value]:
    """Keys below `general.`, but for the file type. `weights`: how many there are, 0 if that is not known."""
    folder = checkpoint.folder.resolve().name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    found = {
        "architecture": Value("string", arch),
        "type": Value("string", "model"),
        "name": Value("string", name or naming.title(folder)),
    }
    if weights:
        found["size_label"] = Value("string", size_label(weights))
    found |= {key: Value("string", text) for key, text in naming.parts(folder, weights).items()}
    found |= card.keys((checkpoint.bytes("README.md") or b"").decode("utf-8", "replace"), weights)
    settings = checkpoint.json("generation_config.json") or {}
    for key, (own, kind) in SAMPLING.items():
        value = settings.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LIMITS[kind]:
            found[f"sampling.{own}"] = Value(kind, int(value) if kind == "i32" else float(value))
    return {f"general.{key}": value for key, value in found.items()}


def file_type(formats: Iterable[tuple[str, int]]) -> dict[str, Value]:
    """Keys for the format that most bytes have; given (format, bytes) of every matrix."""
    sums: dict[str, int] = {}
    for fmt, nbytes in formats:
        sums[fmt] = sums.get(fmt, 0) + nbytes
    most = max(sums, key=lambda fmt: sums[fmt], default="F16")
    return {
        "general.file_type": Value("u32", FILE_TYPES[most]),
        "general.quantization_version": Value("u32", QUANTIZATION_VERSION),
    }


def check_name(name: str) -> None:
    """Raises UsageError for a name that no model can have."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"name {shown(name, 60)}: not UTF-8; expected the name of the model as text") from None
    if not name.strip():
        raise UsageError("name: empty; expected the name of the model, or no name, for that of its folder")


def check(keys: Mapping[str, Value], arch: str) -> None:
    """Raises ModelError where edgeq would not load a model with these keys, their numbers as the file holds them."""
    with np.errstate(over="ignore"):
        held = {key: float(np.float32(v.value)) if v.type == "f32" else v.value for key, v in keys.items()}
    try:
        Config.read(Keys(held, arch))
    except ModelError as error:
        raise ModelError(f"config.json: becomes a model that edgeq would not load: {error}") from None


def size_label(weights: int) -> str:
    """A count as people say it, two digits at least: 135M, 1.2B."""
    for unit, power in (("T", 12), ("B", 9), ("M", 6), ("K", 3)):
        if weights >= 10**power or unit == "K":
            value = weights / 10**power
            break
    digits = max(2 - len(str(round(value)).lstrip("0")), 0)
    return f"{value:.{digits}f}{unit}"
