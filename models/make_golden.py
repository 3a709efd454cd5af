"""Makes the golden outputs of other engines: `python -m models.make_golden` from the root of the repository.

    python -m models.make_golden --oracle PROGRAM                      for the tiny models
    python -m models.make_golden --oracle PROGRAM --real FILE ...      for real models

PROGRAM is built by models/oracle/build.sh from a llama.cpp tree. The tiny models also get the logits of
transformers (pip install torch transformers) where the `gguf` package can dequantize their weights: both but
Q1_0 and Q2_0. Results go to models/golden/; the Golden class of models/tiny says what they hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.oracle import Oracle
from models.tiny import GOLDEN
from models.tiny.specs import ARCHS, SPECS, Spec
from models.tiny.writer import write

TEXT = "The quick brown fox, and the dog: Grüße!\n\nfor i in range(10):\n    print(i)  # c'est la vie, 日本"
PROMPT = 24  # tokens of TEXT that the greedy continuation starts from
GREEDY = 32
CONTEXT = 256  # llama.cpp rounds the size of a context up to this
NO_EXACT = ("format-q1_0", "format-q2_0")  # the `gguf` package cannot dequantize them

REAL_PROMPTS = (
    "The three states of water are ice, liquid water and",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    "Die Hauptstadt von Frankreich ist Paris, und die Hauptstadt von Italien ist",
    "一年有四个季节：春天、夏天、",
)


def tiny(oracle: str, spec: Spec) -> None:
    """Writes golden/NAME.json and golden/NAME.npz of one tiny model."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{spec.name}.gguf"
        write(spec, path)
        engine = Oracle(oracle, path, threads=1)
        ids = _known(engine.tokenize([TEXT.encode()])[0])
        rows = len(ids) if spec in ARCHS else 48
        logits = engine.logits(ids[:rows], kv="f32")
        greedy, margin = engine.greedy_of([ids[:PROMPT]], GREEDY, kv="f32")[0]
        step = np.float32(np.abs(logits).max() / 32767)
        arrays: dict[str, NDArray[Any]] = {"logits": np.rint(logits / step).astype(np.int16), "step": step}
        if spec.name not in NO_EXACT:
            from models.oracle import transformers_oracle

            arrays["exact"] = transformers_oracle.logits(path, ids, CONTEXT)[: 40 if spec in ARCHS else 16]
        facts = {
            "engine": "llama.cpp " + engine.version().split("\n")[0],
            "options": "KV cache F32, flash attention off, one thread, batch of 512",
            "built_for": engine.version().split("\n")[1],
            "sha256": _sha256(path), "context": CONTEXT, "text": TEXT, "ids": ids, "prompt": PROMPT,
            "greedy": greedy, "greedy_margin": [round(x, 5) for x in margin],
        }  # fmt: skip
    np.savez_compressed(GOLDEN / f"{spec.name}.npz", allow_pickle=False, **arrays)
    _write_json(spec.name, facts)


def real(oracle: str, path: Path) -> None:
    """Writes golden/real-STEM.json: per prompt the ids, llama.cpp's greedy continuation, top-20 logits."""
    engine = Oracle(oracle, path, threads=2)
    prompts = [_known(ids) for ids in engine.tokenize([text.encode() for text in REAL_PROMPTS])]
    logits = engine.logits_of(prompts)
    greedy = engine.greedy_of(prompts, GREEDY)
    _write_json(
        f"real-{path.stem}",
        {
            "engine": "llama.cpp " + engine.version().split("\n")[0],
            "options": "KV cache F16, flash attention auto, two threads, batch of 512",
            "built_for": engine.version().split("\n")[1],
            "sha256": _sha256(path),
            "prompts": [
                {
                    "text": text, "ids": ids, "greedy": out, "greedy_margin": [round(x, 4) for x in margin],
                    "top": [_top(row, at) for at, row in enumerate(rows) if at >= len(ids) - 4],
                }
                for text, ids, rows, (out, margin) in zip(REAL_PROMPTS, prompts, logits, greedy, strict=True)
            ],
        },
    )  # fmt: skip


def _top(row: NDArray[np.float32], position: int) -> dict[str, Any]:
    """The 20 highest logits after one position, and the logarithm of the sum of exp over all."""
    best = np.argsort(-row, kind="stable")[:20]
    exact = row.astype(np.float64)
    total = float(exact.max() + np.log(np.exp(exact - exact.max()).sum()))
    return {
        "position": position, "ids": best.tolist(), "logits": [round(float(row[i]), 4) for i in best],
        "logsumexp": round(total, 4),
    }  # fmt: skip


def _known(ids: Sequence[int] | None) -> list[int]:
    if not ids:
        raise ValueError("the oracle gave no ids for a golden text")
    return list(ids)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(name: str, facts: dict[str, Any]) -> None:
    lines = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()
    )
    (GOLDEN / f"{name}.json").write_text(f"{{\n{lines}\n}}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oracle", required=True, help="the llama_oracle program")
    parser.add_argument(
        "--real", type=Path, nargs="*", default=[], help="real GGUF files instead of the tiny models"
    )
    parser.add_argument("--only", nargs="*", choices=sorted(SPECS), help="these tiny models only")
    arguments = parser.parse_args()
    GOLDEN.mkdir(exist_ok=True)
    for path in arguments.real:
        real(arguments.oracle, path)
        print(path.name)
    for name in () if arguments.real else arguments.only or SPECS:
        tiny(arguments.oracle, SPECS[name])
        print(name)


if __name__ == "__main__":
    main()
