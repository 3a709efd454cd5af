"""The C formats: equal, bit for bit, to the NumPy definitions, and safe for any bytes at any address."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq import quants

LINEAR = [name for name, fmt in quants.FORMATS.items() if fmt.linear]
GROUPED = [name for name in LINEAR if quants.FORMATS[name].block > 1]
MINS = {"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"}


def decode(lib, name: str, data: bytes, offset: int = 0) -> np.ndarray:
    """`data` decoded in C from an address with this remainder modulo 64."""
    fmt = quants.FORMATS[name]
    n = len(data) // fmt.nbytes * fmt.block
    room = ctypes.create_string_buffer(len(data) + 128)
    start = -ctypes.addressof(room) % 64 + offset
    ctypes.memmove(ctypes.addressof(room) + start, data, len(data))
    out = np.empty(n, np.float32)
    assert lib.eq_dequantize_row(fmt.id, ctypes.addressof(room) + start, n, out.ctypes.data) == 0
    return out


def defined(name: str, data: bytes) -> np.ndarray:
    return quants.dequantize(np.frombuffer(data, np.uint8), name)


def test_tables_agree(lib):
    linear = {quants.FORMATS[name].id: name for name in LINEAR}
    for id in [*range(-3, 300), 2**31 - 1, -(2**31)]:
        fmt = quants.FORMATS[linear[id]] if id in linear else None
        assert lib.eq_format_block(id) == (fmt.block if fmt else 0)
        assert lib.eq_format_block_bytes(id) == (fmt.nbytes if fmt else 0)
        assert lib.eq_format_has_min(id) == (fmt is not None and fmt.name in MINS)
        assert bool(lib.eq_format_group(id)) == (fmt is not None and fmt.block > 1)


@pytest.mark.parametrize("name", LINEAR)
def test_random_bytes_decode_as_defined(lib, name, differences):
    fmt = quants.FORMATS[name]
    rng = np.random.default_rng(fmt.id + 100)
    for blocks in (1, 2, 3, 4, 5, 700):
        data = rng.bytes(blocks * fmt.nbytes)
        assert differences(decode(lib, name, data), defined(name, data)) == 0


@pytest.mark.parametrize("name", LINEAR)
def test_no_address_needs_to_be_aligned(lib, name, differences):
    data = np.random.default_rng(1).bytes(5 * quants.FORMATS[name].nbytes)
    expected = defined(name, data)
    for offset in range(9):
        assert differences(decode(lib, name, data, offset), expected) == 0


@pytest.mark.parametrize("name", LINEAR)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_chosen_bytes_decode_as_defined(lib, name, differences, data):
    size = data.draw(st.integers(1, 5)) * quants.FORMATS[name].nbytes
    row = data.draw(st.binary(min_size=size, max_size=size))
    assert differences(decode(lib, name, row, data.draw(st.integers(0, 3))), defined(name, row)) == 0


@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_the_parts(lib, name, differences):
    fmt = quants.FORMATS[name]
    n = 300 * fmt.block
    data = np.random.default_rng(2).integers(0, 256, 300 * fmt.nbytes, dtype=np.uint8)
    w, s, m = np.empty(n, np.int16), np.empty(n // 16, np.float32), np.empty(n // 16, np.float32)
    lib.probe_groups(fmt.id, data.ctypes.data, n, w.ctypes.data, s.ctypes.data, m.ctypes.data)
    integers, scales, mins = quants.unpack(data, name)
    assert np.array_equal(w, integers)
    assert differences(s, scales) == 0
    assert differences(m, np.full(n // 16, -0.0, np.float32) if mins is None else mins) == 0


@pytest.mark.parametrize("name", LINEAR)
def test_rows_that_are_not_whole_blocks_are_refused(lib, name):
    fmt = quants.FORMATS[name]
    out = np.full(4 * fmt.block, 7, np.float32)
    for n in (-fmt.block, fmt.block - 1, fmt.block + 1, -1):
        if n % fmt.block or n < 0:
            assert lib.eq_dequantize_row(fmt.id, bytes(4 * fmt.nbytes), n, out.ctypes.data) == -1
    assert (out == 7).all()
    assert lib.eq_dequantize_row(fmt.id, None, 0, None) == 0


@pytest.mark.parametrize("id", [-1, 4, 9, 15, 24, 28, 31, 43, 10**6])
def test_types_that_are_no_weights_are_refused(lib, id):
    out = np.full(256, 7, np.float32)
    assert lib.eq_dequantize_row(id, bytes(4096), 256, out.ctypes.data) == -1
    assert (out == 7).all()


def test_every_half_becomes_its_float(lib, differences):
    halves = np.arange(2**16, dtype=np.uint16)
    floats = np.empty(2**16, np.float32)
    lib.probe_half(halves.ctypes.data, len(halves), floats.ctypes.data)
    assert differences(floats, halves.view(np.float16).astype(np.float32)) == 0
    back = np.empty_like(halves)
    lib.probe_to_half(floats.ctypes.data, len(floats), back.ctypes.data)
    nan = np.isnan(floats)
    assert np.array_equal(back[~nan], halves[~nan])
    assert np.array_equal(back[nan], halves[nan] | 0x200)  # the same NaN, quiet


def around_halves() -> np.ndarray:
    """Every half, every midpoint between two, the floats next to them, both signs; specials; random bits."""
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)
    halves[-1] = 65536.0
    middles = (halves[1:] + halves[:-1]) / 2
    exact = np.concatenate([halves, middles]).astype(np.float32)
    near = np.concatenate(
        [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(0))]
    )
    bits = np.random.default_rng(9).integers(0, 2**32, 2**20, dtype=np.uint32).view(np.float32)
    special = np.array([np.inf, np.nan, 3.4e38, 1e-45, 2.0**-25, 65519.996, 65520.0], np.float32)
    return np.concatenate([near, -near, bits, special, -special])


def test_floats_round_to_the_nearest_even_half(lib):
    floats = around_halves()
    rounded = np.empty(len(floats), np.uint16)
    lib.probe_to_half(floats.ctypes.data, len(floats), rounded.ctypes.data)
    with np.errstate(all="ignore"):
        expected = floats.astype(np.float16).view(np.uint16)
    nan = np.isnan(floats)
    assert np.array_equal(rounded[~nan], expected[~nan])
    assert np.isnan(rounded[nan].view(np.float16)).all()


def test_bf16_is_the_upper_half_of_a_float(lib):
    codes = np.arange(2**16, dtype=np.uint16)
    floats = np.empty(2**16, np.float32)
    lib.probe_bf16(codes.ctypes.data, len(codes), floats.ctypes.data)
    assert np.array_equal(floats.view(np.uint32), codes.astype(np.uint32) << 16)


def test_floats_round_to_the_nearest_even_bf16(lib):
    """As the gguf package encodes BF16."""
    import gguf

    bits = np.random.default_rng(4).integers(0, 2**32, 2**20, dtype=np.uint32)
    bits[: 2**18] = bits[: 2**18] & 0xFFFF0000 | 0x8000  # ties
    bits[:6] = 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 0
    floats = bits.view(np.float32)
    rounded = np.empty(len(floats), np.uint16)
    lib.probe_to_bf16(floats.ctypes.data, len(floats), rounded.ctypes.data)
    expected = gguf.quants.quantize(floats, gguf.GGMLQuantizationType.BF16).view(np.uint16)
    assert np.array_equal(rounded, expected)


def test_sanitizers_find_nothing(compile_formats):
    """Every type, 1 to 5 blocks, all byte values and random ones, in buffers of the exact size."""
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    try:
        program = compile_formats("sanitized", *flags)
    except subprocess.CalledProcessError as error:
        if "sanitize" not in error.stderr and "asan" not in error.stderr:
            raise AssertionError(error.stderr) from error
        pytest.skip("this C compiler has no sanitizers")
    run = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, f"{len(LINEAR)} types\n"), run.stderr
