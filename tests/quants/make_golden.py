"""Write golden.json: what llama.cpp's own C code makes of given blocks.

    python tests/quants/make_golden.py path/to/libggml-base.so VERSION

The blocks are random.Random("edgeq/NAME").randbytes; a digest covers 64 of them as little-endian float32 with
every NaN as 0x7FC00000. For the formats that the gguf package does not decode, one block with finite scales
is written out. llama.cpp has no decoder for Q8_1, an intermediate format: it is Q8_0 with a sum beside the
scale, so the sum is cut out and the decoder of Q8_0 used.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import random
import sys
from pathlib import Path

import numpy as np

from edgeq.quants import FORMATS, Format

BLOCKS = 64
NO_DECODER = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")
WRITTEN_OUT = ("Q1_0", "Q2_0", "Q8_1", "Q8_K")


def decode(lib: ctypes.CDLL, fmt: Format, data: bytes) -> np.ndarray:
    """`data` decoded by llama.cpp, float32 [weights]."""
    n = len(data) // fmt.nbytes * fmt.block
    name = fmt.name.lower().replace("_k", "_K")
    if fmt.name == "Q8_1":
        name = "q8_0"
        data = b"".join(data[i : i + 2] + data[i + 4 : i + 36] for i in range(0, len(data), 36))
    out = np.empty(n, dtype=np.float32)
    function = lib[f"dequantize_row_{name}"]
    function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    function(data, out.ctypes.data, n)
    return out


def finite_block(lib: ctypes.CDLL, fmt: Format, rng: random.Random) -> tuple[bytes, np.ndarray]:
    while True:
        block = rng.randbytes(fmt.nbytes)
        values = decode(lib, fmt, block)
        if np.isfinite(values).all() and (values != 0).any():
            return block, values


def main() -> None:
    lib = ctypes.CDLL(sys.argv[1])
    digests, vectors = {}, {}
    for name, fmt in FORMATS.items():
        if name in NO_DECODER:
            continue
        rng = random.Random(f"edgeq/{name}")
        values = decode(lib, fmt, rng.randbytes(BLOCKS * fmt.nbytes))
        values[np.isnan(values)] = np.float32(np.nan)
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        digests[name] = {"blocks": BLOCKS, "sha256": digest}
        if name in WRITTEN_OUT:
            block, values = finite_block(lib, fmt, rng)
            text = base64.b64encode(values.astype("<f4").tobytes()).decode()
            vectors[name] = {"block": block.hex(), "values": text}
    golden = {"source": f"llama.cpp {sys.argv[2]}, libggml-base", "digests": digests, "vectors": vectors}
    path = Path(__file__).parent / "golden.json"
    path.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
