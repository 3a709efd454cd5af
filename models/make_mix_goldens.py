"""Writes tests/quantize/mixes_golden.json: the format that llama-quantize chooses for each tensor of each mix.

    python models/make_mix_goldens.py llama-quantize

The models are headers of well-known shapes with matrices of two rows, made by tests/quantize/shapes.py. For each: mix
→ formats in the order of names, a letter of `letters` each, without an importance matrix and with one; "" where the
program refuses, and one text where both are alike.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgeq.gguf import open as open_gguf  # noqa: E402
from edgeq.quantize import MIXES  # noqa: E402
from edgeq.quants import FORMATS  # noqa: E402
from tests.quantize.shapes import MODELS, write_model  # noqa: E402

LINE = re.compile(r"\[\s*\d+/\s*\d+\]\s+(\S+)\s+-.*?type =\s*(\w+),.*?(?:\((\w+)\))?$")
NOT_OFFERED = {"NVFP4"}


def write_importances(path: Path, names: dict[str, int]) -> None:
    """llama.cpp's older format: ones for every tensor."""
    out = struct.pack("<i", len(names))
    for name, n in names.items():
        data = name.encode()
        out += struct.pack("<i", len(data)) + data + struct.pack("<ii", 1, n) + struct.pack(f"<{n}f", *[1.0] * n)
    path.write_bytes(out + struct.pack("<ii", 1, 4) + b"ones")


def chosen(program: str, model: Path, mix: str, importances: Path | None) -> dict[str, str] | None:
    command = [program, "--dry-run", *(["--imatrix", str(importances)] if importances else []), str(model), mix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    found = {m[1]: (m[3] or m[2]).upper() for m in map(LINE.search, text.splitlines()) if m}
    return found if done.returncode == 0 and found else None


def main(program: str) -> None:
    table: dict[str, dict[str, list[str]]] = {}
    letters = {name: chr(ord("A") + i) for i, name in enumerate(f for f in FORMATS if FORMATS[f].linear)}
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in MODELS.items():
            model, importances = Path(folder, f"{name}.gguf"), Path(folder, f"{name}.dat")
            write_model(model, shape)
            with open_gguf(model) as g:
                stacked = {t.name: t.shape[-1] * (t.shape[0] if len(t.shape) > 2 else 1) for t in g.tensors.values()}
                names = sorted(g.tensors)
            write_importances(importances, stacked)
            table[name] = {}
            for mix in MIXES:
                if mix in NOT_OFFERED:
                    continue
                both = [chosen(program, model, mix, w) for w in (None, importances)]
                texts = ["".join(letters[formats[n]] for n in names) if formats else "" for formats in both]
                table[name][mix] = texts[: 1 + (texts[0] != texts[1])]
            print(name, [mix for mix, texts in table[name].items() if "" in texts])
    target = ROOT / "tests" / "quantize" / "mixes_golden.json"
    target.write_text(json.dumps({"letters": letters, "models": table}, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
