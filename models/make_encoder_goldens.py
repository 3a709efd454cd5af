"""Writes tests/quants/encode_golden.json: what llama.cpp's encoders lose on the arrays of tests/quants/encoding.py.

    python models/make_encoder_goldens.py libggml-base.so

For each format and array: sum of w e² without importance and with, from ggml_quantize_chunk; null where llama.cpp
wants an importance. The numbers are facts about that library (MIT licence); its version stands in the file.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgeq import quants  # noqa: E402
from tests.quants.encoding import ARRAYS, FORMATS, importance  # noqa: E402

NEEDS_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"}


def main(library: str) -> None:
    ggml = ctypes.CDLL(library)
    ggml.ggml_version.restype = ctypes.c_char_p
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t

    def lost(name: str, x: np.ndarray, w: np.ndarray | None) -> float | None:
        if w is None and name in NEEDS_IMPORTANCE:
            return None
        fmt = quants.FORMATS[name]
        rows, n = x.shape
        out = np.zeros((rows, fmt.row_bytes(n)), np.uint8)
        ggml.ggml_quantize_chunk(
            fmt.id, x.ctypes.data, out.ctypes.data, 0, rows, n, w.ctypes.data if w is not None else None
        )
        e2 = (x - quants.dequantize(out, name).astype(np.float64)) ** 2
        return float((e2 if w is None else e2 * w).sum())

    def both(name: str, x: np.ndarray) -> list[float | None]:
        return [lost(name, x, None), lost(name, x, importance(x.shape[1]))]

    table = {name: {kind: both(name, make()) for kind, make in ARRAYS.items()} for name in FORMATS}
    note = f"ggml {ggml.ggml_version().decode()}, by models/make_encoder_goldens.py"
    target = ROOT / "tests" / "quants" / "encode_golden.json"
    target.write_text(json.dumps({"note": note, "lost": table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
