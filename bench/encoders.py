"""What each format loses, against llama.cpp's encoders on the same numbers, and how fast.

    python -m bench.encoders libggml-base.so [MODEL.gguf …] [--formats Q4_K,…] [--rows 128]

For every format and array: sum of w e² of edgeq as a share of llama.cpp's, without importance (w = 1) and with. Arrays:
Gaussian and heavy-tailed numbers, constants, and two matrices of each model, columns permuted so that none lies on the
grid that it was quantized to. Importances are log-normal. Nanoseconds a weight are of one thread, arrays of models.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Iterator

import numpy as np

from edgeq import gguf, quants
from edgeq.quants.encoders import ENCODERS

NEEDS_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"}  # of llama.cpp
COLUMNS = 1536


def library(path: str) -> Callable[[np.ndarray, str, np.ndarray | None], np.ndarray]:
    """llama.cpp's encoders: rows, format, importance → blocks."""
    ggml = ctypes.CDLL(path)
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_init.argtypes = [ctypes.c_int]

    def encode(x: np.ndarray, name: str, w: np.ndarray | None) -> np.ndarray:
        fmt = quants.FORMATS[name]
        out = np.zeros((len(x), fmt.row_bytes(x.shape[1])), np.uint8)
        ggml.ggml_quantize_init(fmt.id)  # tables, once
        weights = w.ctypes.data if w is not None else None
        ggml.ggml_quantize_chunk(fmt.id, x.ctypes.data, out.ctypes.data, 0, *x.shape, weights)
        return out

    return encode


def arrays(models: list[str], rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names and float32 [rows, columns]; columns are whole blocks of 256."""
    rng = np.random.default_rng(1)
    yield "gauss", (rng.standard_normal((rows, COLUMNS)) * 0.02).astype(np.float32)
    yield "heavy", (rng.standard_t(2.5, (rows, COLUMNS)) * 0.02).astype(np.float32)
    values = np.concatenate([[0, 1, -1, 0.5, 0.1, -0.1, 1 / 3], np.exp(rng.standard_normal(rows) * 2)])[:rows]
    yield "constant", np.repeat(values.astype(np.float32)[:, None], COLUMNS, axis=1)
    for path in models:
        with gguf.open(path) as g:
            layer = g.metadata[f"{g.metadata['general.architecture']}.block_count"] // 2
            for part in ("ffn_down", "ffn_up"):
                t = g.tensors[f"blk.{layer}.{part}.weight"]
                x = quants.dequantize(t.data[:rows], t.format)
                x = x[:, rng.permutation(x.shape[1])][:, : x.shape[1] // 256 * 256]
                yield f"{g.metadata.get('general.name', path)} {part}", np.ascontiguousarray(x)


def importance(n: int) -> np.ndarray:
    return np.exp(np.random.default_rng(5).standard_normal(n) * 1.2).astype(np.float32)


def timed(encode: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    data = encode()
    return data, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="What each format loses, against llama.cpp's encoders")
    parser.add_argument("library")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--formats", default=",".join(ENCODERS))
    parser.add_argument("--rows", type=int, default=128)
    arguments = parser.parse_args()
    theirs = library(arguments.library)
    data = list(arrays(arguments.models, arguments.rows))
    columns = [f"{name}{suffix}" for name, _ in data for suffix in (", w = 1", ", weighted")]
    head = ["format", *columns, "ns: llama.cpp", "edgeq"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for name in arguments.formats.split(","):
        row, spent, weights = [], [0.0, 0.0], 0
        for kind, x in data:
            for w in (None, importance(x.shape[1])):
                if w is None and name in NEEDS_IMPORTANCE:
                    row.append("")
                    continue
                theirs(x[:1], name, w)
                their, their_time = timed(lambda: theirs(x, name, w))  # noqa: B023
                our, our_time = timed(lambda: quants.quantize(x, name, w, threads=1))  # noqa: B023
                lost = [quants.error_report(x, d, name, w).squared for d in (our, their)]
                row.append(f"{lost[0] / lost[1]:.4f}" if lost[1] else "1" if not lost[0] else "inf")
                if kind != "constant" and w is not None:
                    spent, weights = [spent[0] + their_time, spent[1] + our_time], weights + x.size
        cells = [name, *row, *(f"{1e9 * s / max(1, weights):.1f}" for s in spent)]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
