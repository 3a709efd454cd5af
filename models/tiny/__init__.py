"""Tiny random models and the golden outputs of other engines for them: what tests load.

`tiny_model("qwen3", folder)` gives the path of a GGUF file, `golden("qwen3")` what others answer for it.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILES = Path(__file__).parent / "files"
GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Golden:
    """What other engines answered for one model, whose file has the SHA-256 `sha256`.

    facts     how it was made: engine, version, options
    context   positions of llama.cpp's session; it decides which longrope factors apply
    text      the prompt; `ids` are llama.cpp's ids for it, with special tokens added where the file asks
    logits    llama.cpp's logits [T, V] for ids[:T], with its own arithmetic, keys and values in float32
    greedy    llama.cpp's greedy continuation of ids[:prompt]; `greedy_margin` [n] is the gap between the two
              highest logits of each step: where it is near nothing another engine may rightly go elsewhere
    exact     transformers' logits [T', V] for ids[:T'], float32, or None
    """

    name: str
    sha256: str
    facts: dict[str, Any]
    context: int
    text: str
    ids: list[int]
    prompt: int
    logits: NDArray[np.float32]
    greedy: list[int]
    greedy_margin: list[float]
    exact: NDArray[np.float32] | None

    def top(self, n: int = 20) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The n likeliest ids of every position and their log-probabilities, both [T, n], best first."""
        import numpy as np

        x = self.logits.astype(np.float64)
        x -= x.max(1, keepdims=True)
        x -= np.log(np.exp(x).sum(1, keepdims=True))
        order = np.argsort(-x, axis=1, kind="stable")[:, :n]
        return order, np.take_along_axis(x, order, 1)


def names(kind: str | None = None) -> list[str]:
    """Names of all tiny models, of those per architecture ("arch"), or per weight format ("format")."""
    from models.tiny.specs import ARCHS, FORMATS

    specs = {"arch": ARCHS, "format": FORMATS, None: (*ARCHS, *FORMATS)}[kind]
    return [spec.name for spec in specs]


def tiny_model(name: str, folder: str | os.PathLike[str]) -> Path:
    """Puts the model into `folder` unless it is there, and gives its path.

    Models per architecture are committed (compressed); models per format are made here, which needs the
    `gguf` package, and compared with the hash of the file that the golden outputs belong to."""
    path = Path(folder) / f"{name}.gguf"
    if path.exists():
        return path
    packed = FILES / f"{name}.gguf.xz"
    if packed.exists():
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(lzma.decompress(packed.read_bytes()))
        part.replace(path)
        return path
    from models.tiny.specs import SPECS
    from models.tiny.writer import write

    write(SPECS[name], path)
    found, wanted = hashlib.sha256(path.read_bytes()).hexdigest(), golden(name).sha256
    if found != wanted:
        path.unlink()
        raise ValueError(
            f"{name}: the file made here has SHA-256 {found}, its golden outputs belong to {wanted}"
        )
    return path


@cache
def golden(name: str) -> Golden:
    """The committed golden outputs of a tiny model."""
    import numpy as np

    facts = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        logits = arrays["logits"]
        if logits.dtype == np.int16:
            logits = logits * arrays["step"]
        exact = arrays.get("exact")
    own = {
        key: facts.pop(key)
        for key in ("sha256", "context", "text", "ids", "prompt", "greedy", "greedy_margin")
    }
    return Golden(name=name, facts=facts, logits=logits, exact=exact, **own)


def golden_real(stem: str) -> dict[str, Any]:
    """llama.cpp's answers for a real model, by the stem of its file: "engine", "options", "sha256",
    and "prompts", each with "text", "ids", "greedy", "greedy_margin", and "top": for some positions the "ids"
    and "logits" of the 20 highest, and the "logsumexp" of all, which turns a logit into a log-probability."""
    facts: dict[str, Any] = json.loads((GOLDEN / f"real-{stem}.json").read_text("utf-8"))
    return facts
