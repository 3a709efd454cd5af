"""The NumPy definitions: equal, bit for bit, to the gguf package and to llama.cpp, for any bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq import quants
from edgeq.errors import FormatError, UsageError
from edgeq.quants import decode

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
INTEGERS = ("I8", "I16", "I32", "I64")
# What the gguf package decodes; the FP4 formats only in new releases (golden.json has all).
PACKAGE = [n for n in quants.FORMATS if n not in (*INTEGERS, "F64", "Q8_1", "Q8_K", "Q1_0", "Q2_0")]
PACKAGE = [n for n in PACKAGE if n not in ("MXFP4", "NVFP4") or hasattr(gguf.quants, n)]
QUANTIZED = [n for n in quants.FORMATS if n not in (*INTEGERS, "F64", "F32", "F16", "BF16")]
# fp16: 1, -1, 0, -0, smallest and largest subnormal, largest, infinities, NaNs
SPECIAL_HALVES = (0x3C00, 0xBC00, 0, 0x8000, 1, 0x83FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0xFD01)


def package(data: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(data, getattr(gguf.GGMLQuantizationType, name))


def put_half(row: bytearray, fmt: quants.Format, block: int, field: int, bits: int) -> None:
    kind, offset = fmt.scales[field]
    at = block * fmt.nbytes + offset
    if kind == "F16":
        row[at : at + 2] = bits.to_bytes(2, "little")
    elif kind == "IQ1_M":
        for i in range(4):
            row[at + 2 * i + 1] = row[at + 2 * i + 1] & 15 | (bits >> 4 * i & 15) << 4


@pytest.mark.parametrize("name", PACKAGE)
def test_random_bytes_decode_as_in_the_gguf_package(name, differences):
    fmt = quants.FORMATS[name]
    rng = np.random.default_rng(fmt.id)
    for blocks in (1, 2, 3, 4, 5, 400):
        data = rng.integers(0, 256, (3, blocks * fmt.nbytes), dtype=np.uint8)
        assert differences(quants.dequantize(data, name), package(data, name)) == 0


@pytest.mark.parametrize("name", PACKAGE)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_chosen_bytes_decode_as_in_the_gguf_package(name, differences, data):
    fmt = quants.FORMATS[name]
    blocks = data.draw(st.integers(1, 5))
    row = bytearray(data.draw(st.binary(min_size=blocks * fmt.nbytes, max_size=blocks * fmt.nbytes)))
    for field in range(len(fmt.scales)):
        block, bits = data.draw(st.integers(0, blocks - 1)), data.draw(st.sampled_from(SPECIAL_HALVES))
        put_half(row, fmt, block, field, bits)
    array = np.frombuffer(row, dtype=np.uint8)
    assert differences(quants.dequantize(array, name), package(array, name)) == 0


@pytest.mark.parametrize("name", GOLDEN["digests"])
def test_values_are_those_of_llama_cpp(name):
    expected = GOLDEN["digests"][name]
    data = random.Random(f"edgeq/{name}").randbytes(expected["blocks"] * quants.FORMATS[name].nbytes)
    values = quants.dequantize(np.frombuffer(data, dtype=np.uint8), name)
    values[np.isnan(values)] = np.float32(np.nan)
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("name", GOLDEN["vectors"])
def test_one_block_is_as_in_llama_cpp(name):
    expected = GOLDEN["vectors"][name]
    block = np.frombuffer(bytes.fromhex(expected["block"]), dtype=np.uint8)
    values = np.frombuffer(base64.b64decode(expected["values"]), dtype="<f4")
    np.testing.assert_array_equal(quants.dequantize(block, name), values)


def test_goldens_cover_every_quantized_format():
    assert set(GOLDEN["digests"]) == set(QUANTIZED)
    assert set(GOLDEN["vectors"]) == {"Q1_0", "Q2_0", "Q8_1", "Q8_K"}


@pytest.mark.parametrize("name", QUANTIZED)
def test_parts_make_up_the_value(name, differences):
    fmt = quants.FORMATS[name]
    data = np.random.default_rng(7).integers(0, 256, (2, 3, 4 * fmt.nbytes), dtype=np.uint8)
    w, s, m = quants.unpack(data, name)
    n = 4 * fmt.block
    assert (w.dtype, w.shape) == (np.int16, (2, 3, n))
    assert (s.dtype, s.shape) == (np.float32, (2, 3, n // 16))
    assert int(np.abs(w).max()) <= 128
    assert (m is None) == (name not in ("Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"))
    with np.errstate(all="ignore"):
        values = np.repeat(s, 16, axis=-1) * w.astype(np.float32)
        if m is not None:
            values = values + np.repeat(m, 16, axis=-1)
    assert differences(values, quants.dequantize(data, name)) == 0


@pytest.mark.parametrize("name", [*INTEGERS, "F64", "F32"])
def test_plain_numbers_come_back_as_they_are(name):
    dtype = np.dtype(f"{name[0].lower()}{int(name[1:]) // 8}")
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 256, (2, 5 * dtype.itemsize), dtype=np.uint8).view(dtype)
    values = quants.dequantize(numbers.view(np.uint8), name)
    assert values.dtype == dtype
    assert values.tobytes() == numbers.tobytes()


def test_views_of_a_file_decode_wherever_they_start(differences):
    """Read-only, unaligned, and rows that are not adjacent."""
    for name in QUANTIZED:
        fmt = quants.FORMATS[name]
        raw = np.random.default_rng(11).integers(0, 256, 4 * (fmt.nbytes * 2 + 3) + 3, dtype=np.uint8)
        raw.flags.writeable = False
        rows = raw[3:].reshape(4, -1)[::2, : fmt.nbytes * 2]
        assert differences(quants.dequantize(rows, name), quants.dequantize(rows.copy(), name)) == 0


@pytest.mark.parametrize("name", quants.FORMATS)
def test_empty_tensors_have_no_numbers(name):
    assert quants.dequantize(np.zeros((0,), np.uint8), name).shape == (0,)
    assert quants.dequantize(np.zeros((5, 0), np.uint8), name).shape == (5, 0)
    fmt = quants.FORMATS[name]
    assert quants.dequantize(np.zeros((0, fmt.nbytes), np.uint8), name).shape == (0, fmt.block)
    assert quants.scales(np.zeros((0, fmt.nbytes), np.uint8), name).shape == (0, 1, len(fmt.scales))


@pytest.mark.parametrize("name", [name for name in quants.FORMATS if name in decode._PARTS])
def test_empty_tensors_have_no_parts(name):
    fmt = quants.FORMATS[name]
    mins = quants.unpack(np.zeros((1, fmt.nbytes), np.uint8), name)[2]
    for shape in ((0,), (4, 0), (0, fmt.nbytes), (0, 3, 2 * fmt.nbytes)):
        weights, *per_16 = quants.unpack(np.zeros(shape, np.uint8), name)
        n = shape[-1] // fmt.nbytes * fmt.block
        assert (weights.shape, weights.dtype) == ((*shape[:-1], n), np.int16)
        for part in per_16:
            assert part is mins is None or (part.shape, part.dtype) == ((*shape[:-1], n // 16), np.float32)


def test_wrong_input_is_refused():
    block = np.zeros(18, np.uint8)
    with pytest.raises(FormatError, match=r"Q4_0.*multiple of 18 bytes, found 17"):
        quants.dequantize(block[:17], "Q4_0")
    with pytest.raises(UsageError, match=r"expected a uint8 array.*float32 with 1 axes"):
        quants.dequantize(block.astype(np.float32), "Q4_0")
    with pytest.raises(UsageError, match=r"found bytes"):
        quants.dequantize(bytes(18), "Q4_0")
    with pytest.raises(UsageError, match=r"found uint8 with 0 axes"):
        quants.dequantize(np.zeros((), np.uint8), "F16")
    with pytest.raises(UsageError, match=r"unknown format nothing"):
        quants.dequantize(block, "nothing")
    with pytest.raises(UsageError, match=r"F16 has no integer weights"):
        quants.unpack(block, "F16")


@pytest.mark.parametrize("name", ["Q4_0", "Q6_K", "IQ1_M"])
def test_memory_beside_the_result_is_bounded(name):
    fmt = quants.FORMATS[name]
    data = np.zeros((2**22 // fmt.block, fmt.nbytes), np.uint8)
    quants.dequantize(data[:1], name)
    tracemalloc.start()
    try:
        quants.dequantize(data, name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**22 + 2**23


@pytest.mark.parametrize("name", quants.FORMATS)
def test_scales_find_what_is_not_finite(name):
    """One block of five is poisoned, one field at a time; the others stay finite."""
    fmt = quants.FORMATS[name]
    poison = {
        "F16": ["007c", "00fc", "017c", "00fe"], "BF16": ["807f", "80ff", "c17f"],
        "F32": ["0000807f", "0100807f"], "F64": ["000000000000f07f", "010000000000f0ff"],
        "E8M0": ["ff"], "UE4M3": ["7f", "ff"], "IQ1_M": ["0000000000c00070", "ff0fff0fffcfffff"],
    }  # fmt: skip
    for field, (kind, offset) in enumerate(quants.scale_fields(name)):
        for text in poison[kind]:
            data = np.zeros((5, fmt.nbytes), np.uint8)
            value = np.frombuffer(bytes.fromhex(text), np.uint8)
            data[3, offset : offset + len(value)] = value
            bad = np.argwhere(~np.isfinite(quants.scales(data.reshape(-1), name)))
            assert bad.tolist() == [[3, field]], (kind, text)


@pytest.mark.parametrize("name", [n for n in QUANTIZED if n not in ("MXFP4", "Q8_K")])
def test_finite_scales_mean_finite_weights(name):
    fmt = quants.FORMATS[name]
    data = np.random.default_rng(5).integers(0, 256, (2000, fmt.nbytes), dtype=np.uint8)
    good = np.isfinite(quants.scales(data, name)).all(axis=(1, 2))
    assert 0 < np.count_nonzero(good) < len(good)
    assert np.isfinite(quants.dequantize(data[good], name)).all()
    # Q8_1 keeps a sum that decoding does not use, E4M3 has no infinity in GGML; all else shows.
    if name not in ("Q8_1", "NVFP4"):
        assert not np.isfinite(quants.dequantize(data[~good], name)).all(axis=1).any()


def test_scales_are_the_numbers_they_stand_for():
    assert quants.scales(np.array([127, 130, 0] + [0] * 14, np.uint8)[:17], "MXFP4").item() == 1.0
    codes = np.zeros(36, np.uint8)
    codes[:4] = 0x38, 0x40, 0x01, 0x7E
    assert quants.scales(codes, "NVFP4").tolist() == [[1.0, 2.0, 2.0**-9, 448.0]]
    assert quants.scales(np.array([0x80, 0x3F], np.uint8), "BF16").tolist() == [[1.0]]
    assert quants.scales(np.zeros(4, np.uint8), "I32").shape == (1, 0)


def test_codebooks_are_what_their_script_writes():
    """Both committed files, from the gguf package."""
    command = [sys.executable, "models/make_grids.py", "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
