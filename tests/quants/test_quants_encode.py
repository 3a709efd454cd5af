"""Encoders: the native ones and their NumPy twin write the same bytes, lose no more than llama.cpp's, and refuse what
they cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq import _lib, quants
from edgeq.errors import FormatError, UsageError
from edgeq.quants import native
from edgeq.quants.encode import can_encode
from tests.quants.encoding import ARRAYS, FORMATS, gaps, gauss, importance, massive

GOLDEN = json.loads(Path(__file__).with_name("encode_golden.json").read_text(encoding="utf-8"))["lost"]
VARIANTS = ("scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neondot")


def twin(x: np.ndarray, name: str, w: np.ndarray | None) -> np.ndarray:
    return quants.encoders.encode(x, quants.FORMATS[name], None if w is None else (w / w.max()).astype(np.float32))


@pytest.fixture
def everything() -> np.ndarray:
    """Three rows of each array: blocks of all kinds side by side."""
    return np.concatenate([make()[:3] for make in ARRAYS.values()])


@pytest.mark.parametrize("name", FORMATS)
def test_native_and_numpy_write_the_same_bytes(name, everything):
    assert _lib.available()
    for w in (None, *(make(everything.shape[1]) for make in (importance, gaps, massive))):
        assert (quants.quantize(everything, name, w) == twin(everything, name, w)).all()


@pytest.mark.parametrize("isa", VARIANTS)
def test_every_variant_writes_the_same_bytes(isa, everything, monkeypatch):
    if _lib.lib.eq_isa_name(isa.encode()) == _lib.ffi.NULL:
        pytest.skip(f"this processor has no {isa}")
    for w in (gaps(everything.shape[1]), massive(everything.shape[1])):
        for name in FORMATS:
            monkeypatch.delenv("EDGEQ_ISA", raising=False)
            expected = quants.quantize(everything, name, w)
            monkeypatch.setenv("EDGEQ_ISA", isa)
            assert (quants.quantize(everything, name, w) == expected).all(), name


@pytest.mark.parametrize("name", FORMATS)
def test_loses_no_more_than_llama_cpp(name):
    for kind, make in ARRAYS.items():
        x = make()
        for w, theirs in zip((None, importance(x.shape[1])), GOLDEN[name][kind]):
            if theirs is None:
                continue
            lost = quants.error_report(x, quants.quantize(x, name, w), name, w).squared
            room = 0.02 if kind == "ramp" else 1e-6  # an even ramp has one best scale, between those that are tried
            assert lost <= theirs * (1 + room), (kind, w is not None)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"Q1_0", "Q2_0"}))  # which the package cannot read
def test_the_gguf_package_reads_the_same_numbers(name, everything):
    data = quants.quantize(everything, name)
    theirs = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
    assert (theirs == quants.dequantize(data, name)).all()


@pytest.mark.parametrize("name", FORMATS)
def test_a_block_does_not_depend_on_its_neighbours(name):
    x, w = gauss()[:5], importance(512)
    whole = quants.quantize(x, name, w)
    for row in range(5):
        assert (quants.quantize(x[row], name, w) == whole[row]).all()
    block = quants.FORMATS[name].block
    assert (quants.quantize(x[0, :block], name, w[:block]) == whole[0, : quants.FORMATS[name].nbytes]).all()


@pytest.mark.parametrize("name", ["Q4_K", "Q8_0"])
def test_bytes_do_not_depend_on_threads(name):
    x = np.random.default_rng(0).standard_normal((300, 2048)).astype(np.float32)
    first = quants.quantize(x, name, threads=1)
    for threads in (2, 3, 16):
        assert (quants.quantize(x, name, threads=threads) == first).all()


# What a format of so many bits may lose of Gaussian weights: half again as much as it does.
RELATIVE = {
    "Q8_0": 0.0075, "Q6_K": 0.026, "Q5_K": 0.052, "Q5_1": 0.051, "Q5_0": 0.061, "Q4_K": 0.105, "Q4_1": 0.105,
    "Q4_0": 0.125, "IQ4_NL": 0.112, "IQ4_XS": 0.112, "Q3_K": 0.22, "Q2_K": 0.4, "IQ3_S": 0.2, "IQ3_XXS": 0.27,
    "IQ2_S": 0.36, "IQ2_XS": 0.4, "IQ2_XXS": 0.45, "IQ1_M": 0.66, "IQ1_S": 0.74, "MXFP4": 0.17, "NVFP4": 0.16,
    "TQ1_0": 0.66, "TQ2_0": 0.66, "Q2_0": 0.53, "Q1_0": 0.91,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.floats(-1.5, 2.5), rows=st.integers(1, 3), blocks=st.integers(1, 3))
def test_what_is_written_reads_back_close(name, seed, size, rows, blocks):
    n = quants.FORMATS[name].block * blocks * max(1, 256 // quants.FORMATS[name].block)
    x = np.random.default_rng(seed).standard_normal((rows, n)).astype(np.float32) * np.float32(10**size)
    data = quants.quantize(x, name)
    assert data.shape == (rows, quants.FORMATS[name].row_bytes(n))
    assert np.isfinite(quants.scales(data, name)).all()
    assert quants.error_report(x, data, name).relative < RELATIVE[name]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(
    x=hnp.arrays(np.float32, (2, 256), elements=st.floats(-2000, 2000, width=32)),
    w=hnp.arrays(np.float32, (256,), elements=st.floats(0, 2.0**90, width=32)),
)
def test_no_array_makes_numbers_that_are_not_finite(name, x, w):
    data = quants.quantize(x, name, w)
    assert np.isfinite(quants.dequantize(data, name)).all()
    assert (data == twin(x, name, w if w.any() else None)).all()


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"Q1_0"}))
def test_numbers_on_the_formats_own_grid_stay_near(name):
    """A second round finds most of the first one's numbers again."""
    once = quants.quantize(gauss(), name)
    numbers = quants.dequantize(once, name)
    first = quants.error_report(gauss(), once, name).squared
    assert quants.error_report(numbers, quants.quantize(numbers, name), name).squared < 0.1 * first


def test_q4_1_is_kept_by_q5_1_though_two_grids_hold_it_and_one_of_them_is_not_of_halves():
    """x = m + d q, q of 0 .. 15, is also m + d/2 (2q) and (m - d/2) + d/2 (2q + 1); m - d/2 is no half."""
    rng, n = np.random.default_rng(1408), 1 << 12
    d = rng.uniform(0.02, 0.1, n).astype(np.float16).astype(np.float32)[:, None]
    m = rng.uniform(-1, -0.3, n).astype(np.float16).astype(np.float32)[:, None]
    q = np.clip(np.rint(rng.normal(8, 3, (n, 32))), 0, 15)
    q[:, 0], q[:, 1] = 0, 15
    x = (m + d * q).astype(np.float32)
    w = np.exp(2 * rng.standard_normal(32)).astype(np.float32)
    assert (quants.dequantize(quants.quantize(x, "Q5_1", w), "Q5_1") == x).all()


def test_q1_0_of_constants_is_the_nearest_half_though_sums_of_floats_err():
    """Numbers almost midway between two halves, one in each block."""
    rng = np.random.default_rng(2)
    low = np.exp(rng.uniform(-7, 2, 512)).astype(np.float16)
    middle = (low.astype(np.float64) + np.nextafter(low, np.float16(np.inf)).astype(np.float64)) / 2
    x = np.repeat((middle * (1 + rng.choice([-1, 1], 512) * 2.0**-22)).astype(np.float32)[:, None], 128, axis=1)
    data = quants.quantize(x, "Q1_0", rng.exponential(1, 128))
    assert (quants.dequantize(data, "Q1_0") == x.astype(np.float16)).all()


@pytest.mark.parametrize(("name", "most"), [("Q4_K", 1e-3), ("Q5_K", 1e-3), ("Q2_K", 3e-4), ("Q4_1", 3e-4)])
def test_two_values_lose_no_more_than_halves_do(name, most):
    """Parts of a block that many scales fit exactly all take the same one, so that one d serves."""
    x = (0.02 * np.sign(gauss())).astype(np.float32)
    assert quants.error_report(x, quants.quantize(x, name), name).relative < most


@pytest.mark.parametrize("name", ["Q3_K", "Q6_K"])
def test_nearly_constant_weights_lose_little_but_their_spread(name):
    x = 100 + gauss() / 2
    spread = x.std() / 100
    assert quants.error_report(x, quants.quantize(x, name), name).relative < spread + 1e-4


@pytest.mark.parametrize(("name", "most"), [("Q4_1", 1e6), ("Q5_1", 1e7), ("Q4_K", 1e7), ("Q5_K", 1e7)])
def test_one_weight_that_counts_a_million_times_the_others_does_not_make_them_alike(name, most):
    x, w = gauss(), np.ones(512, np.float32)
    x[:, ::32], x[:, 10::32], w[10::32] = -0.74, 0.02, most
    others = w == 1
    error = (x - quants.dequantize(quants.quantize(x, name, w), name))[:, others] ** 2
    plain = (x - quants.dequantize(quants.quantize(x, name), name))[:, others] ** 2
    assert error.sum() < 2 * plain.sum()


def lost_by_hot_columns(name: str, w: np.ndarray) -> tuple[float, float]:
    """What small weights that count a million times the others lose of their power, and what the others lose."""
    x, hot = gauss(), w > 1e4
    x[:, hot] *= np.float32(0.05)
    error = (x - quants.dequantize(quants.quantize(x, name, w), name)) ** 2
    return tuple(error[:, at].sum() / (x[:, at] ** 2).sum() for at in (hot, ~hot))


HOT = {"Q3_K": 0.02, "Q6_K": 0.002, "Q4_0": 0.01, "Q5_0": 0.005, "Q8_0": 0.001, "Q2_0": 0.025, "TQ2_0": 0.3}
PAIR = {"Q3_K": 0.2, "Q6_K": 0.03, "IQ4_XS": 0.22, "Q4_0": 0.15, "Q5_0": 0.08, "IQ4_NL": 0.2, "Q2_0": 0.25}
OTHERS = {"Q2_0": 0.65, "TQ2_0": 0.8}  # have few levels to give


@pytest.mark.parametrize(("name", "most"), HOT.items())
def test_a_small_weight_that_counts_a_million_times_the_others_is_not_rounded_to_nothing(name, most):
    """As of columns that see the massive activations of first tokens; the others keep what room there is."""
    hot, others = lost_by_hot_columns(name, massive(512))
    assert hot < most
    assert others < OTHERS.get(name, 0.25)


@pytest.mark.parametrize(("name", "most"), PAIR.items())
def test_two_small_weights_of_a_block_that_count_a_million_times_the_others_are_both_kept(name, most):
    w = massive(512)
    w[11::96] *= 1e6
    hot, others = lost_by_hot_columns(name, w)
    assert hot < most
    assert others < OTHERS.get(name, 0.25)


@pytest.mark.parametrize("name", FORMATS)
def test_a_weight_that_counts_ever_more_does_not_suddenly_take_all_from_the_others(name):
    """However much one counts, ranges of the others are tried."""
    x, lost = gauss(), []
    x[:, 5::256] *= np.float32(0.1)
    for most in (1e7, 3e8):
        w = np.ones(512, np.float32)
        w[5::256] = most
        lost.append(((x - quants.dequantize(quants.quantize(x, name, w), name))[:, w == 1] ** 2).sum())
    assert lost[1] < 3 * lost[0]


@pytest.mark.parametrize("name", FORMATS)
def test_ranges_too_small_to_divide_by_give_the_same_bytes(name):
    """Whether a minimum takes a number or what is none differs among processors."""
    big = np.full(256, 2000, np.float32)
    big[5], big[7:9] = 1e-38, 0
    alone = np.zeros(256, np.float32)
    alone[0] = 1.2e-38
    small = gauss()[0, :256]
    small[5], small[7] = 1e-38, 0
    x, w = np.stack([big, alone, small]), np.zeros(256, np.float32)
    w[5] = 1
    for importances in (None, w):
        assert (quants.quantize(x, name, importances) == twin(x, name, importances)).all()


def test_a_scale_too_small_for_a_half_is_the_smallest_one_and_not_zero():
    x, w = gauss() * np.float32(0.005), np.full(512, 1e-12, np.float32)
    w[9] = 1
    x[:, 9] = 4.6e-5
    data = quants.quantize(x[:, :256], "Q6_K", w[:256])
    assert quants.dequantize(data, "Q6_K")[:, 9] == pytest.approx(4.6e-5, rel=0.05)


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith(("IQ1", "IQ2", "IQ3"))])
def test_columns_without_importance_cost_nothing_but_are_not_forgotten(name):
    """Later texts may need what calibration missed. (Codebooks of eight weights have no room for both.)"""
    x, w = gauss(), importance(512)
    w[::2] = 0
    error = (x - quants.dequantize(quants.quantize(x, name, w), name)) ** 2
    plain = (x - quants.dequantize(quants.quantize(x, name), name)) ** 2
    assert error[:, 1::2].sum() < 1.05 * plain[:, 1::2].sum()
    assert error[:, ::2].sum() < 10 * plain[:, ::2].sum()


def test_columns_with_importance_gain_from_those_without():
    x, w = gauss(), importance(512)
    w[::2] = 0
    error = (x - quants.dequantize(quants.quantize(x, "Q4_K", w), "Q4_K")) ** 2
    plain = (x - quants.dequantize(quants.quantize(x, "Q4_K"), "Q4_K")) ** 2
    assert error[:, 1::2].sum() < 0.95 * plain[:, 1::2].sum()


@pytest.mark.parametrize("name", FORMATS)
def test_outliers_without_importance_widen_no_range(name):
    """Weights that no input reaches may be a hundred times the others."""
    x, w = gauss(), gaps(512)
    still, wild = np.where(w, x, 0), np.where(w, x, 100 * x)
    calm, lost = (quants.error_report(a, quants.quantize(a, name, w), name, w).squared for a in (still, wild))
    assert lost < 1.05 * calm


def test_an_importance_of_zero_counts_as_none():
    x = gauss()
    assert (quants.quantize(x, "Q3_K", np.zeros(512)) == quants.quantize(x, "Q3_K")).all()


def test_only_ratios_of_importances_count():
    x, w = gauss(), importance(512).astype(np.float64)
    assert (quants.quantize(x, "Q4_K", w * 2.0**90) == quants.quantize(x, "Q4_K", w * 2.0**-90)).all()


def test_a_stack_of_matrices_has_an_importance_each():
    x = gauss().reshape(2, 12, 512)
    w = np.stack([importance(512), importance(512)[::-1]])
    both = quants.quantize(x, "Q4_K", w)
    assert both.shape == (2, 12, 288)
    for i in range(2):
        assert (both[i] == quants.quantize(x[i], "Q4_K", w[i])).all()


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_floats(name):
    x = np.concatenate([gauss().ravel(), np.array([0, -0.0, 1e-7, 65504, -1e-30, 2**-24, 3.14159], np.float32)])
    data = quants.quantize(x, name)
    assert (gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]).view(np.uint8) == data).all()


def test_without_the_library_numpy_serves(monkeypatch, everything):
    expected = {name: quants.quantize(everything, name) for name in ("Q4_K", "F16", "BF16", "F32", "IQ2_S")}
    monkeypatch.setattr(native, "available", lambda: False)
    for name, data in expected.items():
        assert (quants.quantize(everything, name) == data).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9])
def test_numbers_that_do_not_fit_are_named(bad):
    x = gauss()
    x[3, 77] = bad
    with pytest.raises(FormatError, match=r"Q4_0: found .* at \[3, 77\]; expected finite numbers of at most"):
        quants.quantize(x, "Q4_0")


@pytest.mark.parametrize(
    ("array", "message"),
    [([1.0], "found list"), (np.arange(32), "found int"), (np.float32(1), "found float32"), (np.array(1.0), "0 axes")],
)
def test_what_is_no_array_of_floats_is_refused(array, message):
    with pytest.raises(UsageError, match=message):
        quants.quantize(array, "Q8_0")


def test_rows_that_are_not_whole_blocks_are_refused():
    with pytest.raises(FormatError, match="Q4_K: a row must have a multiple of 256 weights, found 500"):
        quants.quantize(gauss()[:, :500], "Q4_K")


@pytest.mark.parametrize("name", ["Q8_1", "Q8_K", "I8", "F64"])
def test_formats_that_files_do_not_use_are_refused(name):
    assert not can_encode(quants.FORMATS[name])
    with pytest.raises(UsageError, match=f"{name} cannot be written: expected one of F32, F16, Q4_0"):
        quants.quantize(gauss(), name)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (np.ones(511), r"shape \[512\], one for each column, found float64 \[511\]"),
        (np.ones((24, 512)), "one for each column"),
        (np.full(512, np.nan), "expected finite numbers"),
        (-np.ones(512), "not negative"),
        (np.array(["a"] * 512), "expected numbers"),
    ],
)
def test_bad_importances_are_refused(w, message):
    with pytest.raises(UsageError, match=message):
        quants.quantize(gauss(), "Q4_K", w)


def test_an_error_report_refuses_the_importances_that_quantize_refuses():
    x = gauss()
    data = quants.quantize(x, "Q4_K")
    for w in (np.ones(511), np.ones((24, 512)), np.ones((1, 512)), np.full(512, np.nan), np.full(512, np.inf),
              -np.ones(512), np.ones(512, bool), np.ones(512, complex), np.array([None] * 512), 1.0, "a"):  # fmt: skip
        messages = []
        for refuses in (lambda w=w: quants.quantize(x, "Q4_K", w), lambda w=w: quants.error_report(x, data, "Q4_K", w)):
            with pytest.raises(UsageError, match="importance: expected") as found:
                refuses()
            messages.append(str(found.value))
        assert messages[0] == messages[1]
    stack = x.reshape(2, 12, 512)
    for shape in ((2, 1, 512), (2, 12, 512), (12, 512)):
        with pytest.raises(UsageError, match=r"importance: expected numbers of shape \[512\] or \[2, 512\]"):
            quants.error_report(stack, data.reshape(2, 12, -1), "Q4_K", np.ones(shape))
    for none in ("abc", x.astype(complex)):
        with pytest.raises(UsageError, match="Q4_K: expected an array of numbers"):
            quants.error_report(none, data, "Q4_K")


def test_importances_in_rows_of_several_lengths_are_refused():
    with pytest.raises(
        UsageError, match=r"importance: expected numbers of shape \[512\], found rows of several lengths"
    ):
        quants.quantize(gauss(), "Q4_K", [[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("bad", [1e200, -1e200, np.inf, np.nan])
def test_an_error_report_of_numbers_beyond_float32_is_refused_without_a_warning(bad, recwarn):
    x = gauss().astype(np.float64)
    data = quants.quantize(x, "Q4_K")
    x[3, 77] = bad
    with pytest.raises(FormatError, match=r"Q4_K: found \S+ at \[3, 77\]; expected finite numbers that float32 can"):
        quants.error_report(x, data, "Q4_K")
    x[3, 77] = np.finfo(np.float32).max
    assert np.isfinite(quants.error_report(x, data, "Q4_K").relative) and not recwarn.list


def test_numbers_of_threads_may_be_those_of_numpy():
    x = np.tile(gauss(), (100, 1))
    assert (quants.quantize(x, "Q8_0", threads=np.int64(2)) == quants.quantize(x, "Q8_0", threads=2)).all()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "a", True])
def test_numbers_of_threads_that_are_none_are_refused(threads):
    for x in (gauss(), np.tile(gauss(), (100, 1))):
        with pytest.raises(UsageError, match="threads: expected a whole number from 1, found "):
            quants.quantize(x, "Q8_0", threads=threads)


def test_empty_arrays_are_empty():
    assert quants.quantize(np.zeros((0, 256), np.float32), "Q4_K").shape == (0, 144)
    assert quants.quantize(np.zeros((3, 0), np.float32), "Q8_0").shape == (3, 0)


def test_an_error_report_adds_up():
    x, w = gauss(), importance(512)
    data = quants.quantize(x, "Q4_K", w)
    e = x.astype(np.float64) - quants.dequantize(data, "Q4_K")
    report = quants.error_report(x, data, "Q4_K", w)
    assert report.squared == pytest.approx((w * e**2).sum())
    assert report.relative == pytest.approx(np.sqrt((w * e**2).sum() / (w * x.astype(np.float64) ** 2).sum()))
    assert report.rmse == pytest.approx(np.sqrt((e**2).mean()))
    assert report.largest == np.abs(e).max()
    assert report.blocks.shape == (24, 2)
    assert report.blocks.sum() == pytest.approx(report.squared)
    assert report.rows.shape == (24,)
    with pytest.raises(UsageError, match="expected data for shape"):
        quants.error_report(x[:2], data, "Q4_K")
