"""Scales of any bits: what is not finite reaches the rows that have it alone; smallest and largest powers of two."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import quants
from edgeq.program import Builder
from tests.backends.conftest import By
from tests.backends.single import known, program, run, seen
from tests.backends.test_native_ops import batch
from tests.blocks import MemoryWeights, filled

FORMATS = sorted(name for name, f in quants.FORMATS.items() if f.linear and f.block > 1)
ROWS = 7
SPECIAL = {
    "F16": (0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0xFC01),
    "E8M0": (0, 1, 2, 3, 127, 250),
    "UE4M3": (0x00, 0x01, 0x07, 0x08, 0x7E, 0x7F, 0x80, 0x81, 0xFF),
}


def plain(b: Builder, cols: int) -> tuple[list[int], list[int]]:
    x = b.buffer("x", cols)
    return [x], [b.linear("y", x, b.tensor("w", ROWS, cols), ROWS)]


def with_scale(weights: MemoryWeights, fmt: str, kind: str, at: int, code: int, block: int) -> None:
    """In row 2 the scale `kind` that begins at byte `at` of a block becomes `code`."""
    blocks = weights["w"].data.reshape(ROWS, -1, quants.FORMATS[fmt].nbytes)
    if kind == "F16":
        blocks[2, block, at : at + 2] = code & 255, code >> 8
    elif kind == "IQ1_M":  # in the highest nibbles of four words
        for i in range(4):
            high = at + 2 * i + 1
            blocks[2, block, high] = blocks[2, block, high] & 0x0F | (code >> 4 * i & 15) << 4
    else:
        blocks[2, block, at] = code


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("tokens", [1, 3, 20])
def test_a_scale_may_have_any_bits(fmt: str, tokens: int, by: By) -> None:
    rng = np.random.default_rng(80)
    f = quants.FORMATS[fmt]
    cols = 4 * max(f.block, 64)
    made = program(lambda b: plain(b, cols))
    kind, at = quants.scale_fields(fmt)[0]
    for code in SPECIAL.get(kind, SPECIAL["F16"]):
        weights = filled(rng, [("w", (ROWS, cols))], {}, fmt, 1.0)
        for block in (0, cols // f.block - 1):
            with_scale(weights, fmt, kind, at, code, block)
        x = (rng.standard_normal((tokens, cols)) * 1e-3).astype(np.float32)
        found = run(made, weights, [x], batch(tokens), isa=by)[0]
        with np.errstate(all="ignore"):
            w = known(weights["w"].values(), tokens, by).astype(np.float64)
        finite = np.isfinite(w).all(axis=1)
        assert finite[[0, 1, 3, 4, 5, 6]].all()
        assert not np.isfinite(found[:, ~finite]).any(), hex(code)
        w, x = w[finite], seen(x, by, fmt).astype(np.float64)
        assert (np.abs(found[:, finite] - x @ w.T) <= 2e-6 * (np.abs(x) @ np.abs(w.T)) + 1e-9).all(), hex(code)


@pytest.mark.parametrize("code", range(2, 256))
def test_every_scale_of_mxfp4(code: int, by: By) -> None:
    """With activations that bring the outputs back to what a float holds. Codes 0 and 1 are subnormal numbers, which
    threads take for zero."""
    rng = np.random.default_rng(81)
    weights = filled(rng, [("w", (ROWS, 160))], {}, "MXFP4", 1.0)
    scales = weights["w"].data.reshape(ROWS, -1, 17)[..., 0]
    scales[...] = 127
    ones = weights["w"].values().astype(np.float64)
    scales[...] = code
    made = program(lambda b: plain(b, 160))
    for tokens in (1, 20) if code < 252 else (1,):
        size = 2.0 ** np.clip(127 - code, -60, 60)
        x = (rng.standard_normal((tokens, 160)) * size).astype(np.float32)
        found = run(made, weights, [x], batch(tokens), isa=by)[0].astype(np.float64)
        w, y = known(ones, tokens, by) * 2.0 ** (code - 127), seen(x, by, "MXFP4").astype(np.float64)
        assert (np.abs(found - y @ w.T) <= 1e-5 * (np.abs(y) @ np.abs(w.T))).all()


@pytest.mark.parametrize("fmt", ["NVFP4", "MXFP4"])
def test_every_code_of_a_four_bit_float_and_of_its_scale(fmt: str, by: By) -> None:
    rng = np.random.default_rng(82)
    weights = filled(rng, [("w", (ROWS, 2048))], {}, fmt, 1.0)
    if fmt == "NVFP4":
        blocks = weights["w"].data.reshape(ROWS, -1, 36)
        blocks[..., :4] = np.arange(blocks[..., :4].size).astype(np.uint8).reshape(blocks[..., :4].shape)
    made = program(lambda b: plain(b, 2048))
    for tokens in (1, 5, 20):
        x = rng.standard_normal((tokens, 2048)).astype(np.float32)
        found = run(made, weights, [x], batch(tokens), isa=by)[0].astype(np.float64)
        w, y = known(weights["w"].values(), tokens, by).astype(np.float64), seen(x, by, fmt).astype(np.float64)
        assert (np.abs(found - y @ w.T) <= 2e-6 * (np.abs(y) @ np.abs(w.T) + 1)).all()
