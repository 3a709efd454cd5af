"""Comparison of models, against the same sums over whole arrays; and extraction of single tensors."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError
from edgeq.gguf import Value, comparing, extracting
from edgeq.gguf.comparing import Distance
from edgeq.quants import FORMATS, dequantize

package = pytest.importorskip("gguf", reason="the gguf package is part of the test extras")
RNG = np.random.default_rng(4)


def written(path: Path, rows: Any, meta: Any = None, **options: Any) -> str:
    return gguf.write(path, meta or {}, rows, **options)[0]


def distance(tmp_path: Path, a: np.ndarray, b: np.ndarray, fmt: str = "F32") -> Distance | None:
    one = written(tmp_path / "a.gguf", [("t", a.shape, fmt, a)], overwrite=True)
    other = written(tmp_path / "b.gguf", [("t", b.shape, fmt, b)], overwrite=True)
    found = gguf.compare(one, other)
    assert found.differ == bool(found.tensors) and found.same == 1 - len(found.tensors)
    return found.tensors[0].distance if found.tensors else None


def test_metadata_and_tensors_by_name(tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.float32)
    a = written(
        tmp_path / "a.gguf",
        [("same", (12,), "F32", data), ("gone", (1,), "F32", data[:1]), ("shape", (3, 4), "F32", data)],
        {"one": 1, "gone": 2, "value": 3, "type": Value("i32", 1), "list": [1, 2]},
    )
    b = written(
        tmp_path / "b.gguf",
        [("shape", (4, 3), "F32", data), ("new", (1,), "I32", data[:1]), ("same", (12,), "F32", data)],
        {"type": Value("u32", 1), "value": 4, "new": "x", "one": 1, "list": [1, 3]},
        max_tensors=1,
    )
    found = gguf.compare(a, b)
    assert [(c.key, c.old and c.old.value, c.new and c.new.value) for c in found.metadata] == [
        ("gone", 2, None), ("value", 3, 4), ("type", 1, 1), ("list", [1, 2], [1, 3]), ("new", None, "x"),
    ]  # fmt: skip
    assert [(t.name, t.old and t.old.shape, t.new and t.new.shape, t.distance) for t in found.tensors] == [
        ("gone", (1,), None, None), ("shape", (3, 4), (4, 3), None), ("new", None, (1,), None),
    ]  # fmt: skip
    assert found.same == 1 and found.differ
    assert [t.name for t in gguf.compare(a, b, tensors="^(n|s)").tensors] == ["shape", "new"]
    assert found.metadata[2].old == Value("i32", 1) and found.metadata[2].new == Value("u32", 1)
    assert not gguf.compare(a, a).differ and gguf.compare(b, b).same == 3


def test_splitting_and_order_are_no_difference(tmp_path: Path) -> None:
    rows = [(f"t{i}", (32,), "F32", RNG.random(32, np.float32)) for i in range(4)]
    a = written(tmp_path / "a.gguf", rows, {"x": 1, "y": 2})
    b = written(tmp_path / "b.gguf", rows[::-1], {"y": 2, "x": 1}, max_tensors=3)
    assert not gguf.compare(a, b).differ and not gguf.compare(b, a, data=False).differ


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "TQ2_0", "BF16", "F16", "MXFP4", "Q1_0"])
def test_distance_between_formats(tmp_path: Path, fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of several pieces; blocks of another size on each side."""
    monkeypatch.setattr(comparing, "_PIECE", 1024)
    f = FORMATS[fmt]
    raw = RNG.integers(0, 256, (5, f.row_bytes(768)), np.uint8)
    if fmt in ("F16", "BF16"):
        raw = RNG.random((5, 768), np.float32).astype(np.float16).view(np.uint8).reshape(5, -1)
    numbers = np.nan_to_num(np.asarray(dequantize(raw, fmt), np.float64), nan=1.0, posinf=1.0, neginf=1.0)
    exact = np.clip(numbers * 1.01 + 1e-3, -1e30, 1e30).astype(np.float32)
    a = written(tmp_path / "a.gguf", [("t", (5, 768), "F32", exact)])
    b = written(tmp_path / "b.gguf", [("t", (5, 768), fmt, raw)])
    found = gguf.compare(a, b).tensors[0].distance
    x, y = exact.astype(np.float64).ravel(), np.asarray(dequantize(raw, fmt), np.float64).ravel()
    good = np.isfinite(y)
    x, y = x[good], y[good]
    assert found is not None and found.finite == good.sum() and found.odd == (~good).sum()
    assert found.rms == pytest.approx(math.sqrt(((y - x) ** 2).sum() / (x**2).sum()), rel=1e-9)
    assert found.largest == np.abs(y - x).max()
    assert found.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-9)
    assert gguf.compare(a, b, data=False).tensors[0].distance is None


def test_odd_numbers(tmp_path: Path) -> None:
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    nan, inf = np.full(4, np.nan, np.float32), np.full(4, np.inf, np.float32)
    assert distance(tmp_path, zero, zero) is None and distance(tmp_path, nan, nan) is None
    assert distance(tmp_path, zero, one) == (math.inf, 1.0, None, 4, 0)
    assert distance(tmp_path, one, zero) == (1.0, 1.0, None, 4, 0)
    assert distance(tmp_path, zero, -zero) == (0.0, 0.0, None, 4, 0)
    assert distance(tmp_path, one, nan) == (0.0, 0.0, None, 0, 4)
    assert distance(tmp_path, one, inf) == (0.0, 0.0, None, 0, 4)
    assert distance(tmp_path, inf, -inf) == (0.0, 0.0, None, 0, 4)
    mixed = np.array([np.nan, 1, 2, np.inf], np.float32)
    found = distance(tmp_path, mixed, np.array([np.nan, 1, 4, np.inf], np.float32))
    assert found is not None and (found.finite, found.odd, found.largest) == (2, 0, 2.0)
    huge = distance(tmp_path, np.full(2, 1e300), np.full(2, -1e300), "F64")
    assert huge is not None and huge.largest == 2e300
    whole = distance(tmp_path, np.array([1, -5], np.int32), np.array([1, 2**31 - 1], np.int32), "I32")
    assert whole is not None and whole.largest == 2**31 + 4


def test_formats_of_the_same_bytes_differ(tmp_path: Path) -> None:
    data = np.full(4, 0x3F80, np.uint16)
    a = written(tmp_path / "a.gguf", [("t", (4,), "BF16", data)])
    b = written(tmp_path / "b.gguf", [("t", (4,), "F16", data)])
    (found,) = gguf.compare(a, b).tensors
    assert found.distance == (0.875, 0.875, 1.0, 4, 0)  # 1 against 1.875
    assert len(gguf.compare(a, b, data=False).tensors) == 1


def test_arguments_and_files_that_change(tmp_path: Path) -> None:
    path = Path(written(tmp_path / "a.gguf", [("t", (4,), "F32", bytes(16))]))
    for pattern in ("(", "a{99999999999}", "(" * 5000):
        with pytest.raises(UsageError, match="regular expression"):
            gguf.compare(path, path, tensors=pattern)
    with pytest.raises(GGUFError, match=r"became shorter|changed"):
        gguf.compare(path, path, progress=lambda *_: path.write_bytes(b""))
    path = Path(written(tmp_path / "b.gguf", [("t", (4,), "F32", bytes(16))]))
    with pytest.raises(GGUFError, match="changed while it was read"):
        gguf.compare(path, path, progress=lambda *_: os.utime(path, (1, 1)))


@pytest.mark.parametrize("fmt", [n for n in FORMATS if n not in ("Q8_1", "Q8_K")])
def test_extracted_numbers_are_those_of_the_format(tmp_path: Path, fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "_PIECE", 512)
    raw = RNG.integers(0, 256, (2, 3, FORMATS[fmt].row_bytes(256)), np.uint8)
    path = written(tmp_path / "m.gguf", [("t", (2, 3, 256), fmt, raw)])
    with gguf.open(path) as g:
        size = gguf.extract(g, "t", tmp_path / "t.npy", numbers=True)
        assert gguf.extract(g, "t", tmp_path / "t.bin") == raw.nbytes
    assert size == (tmp_path / "t.npy").stat().st_size
    assert (tmp_path / "t.bin").read_bytes() == raw.tobytes()
    found = np.load(tmp_path / "t.npy")
    expected = dequantize(raw, fmt)
    assert found.shape == (2, 3, 256) and found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def test_extraction_overwrites_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    written(path, [("t", (), "F32", b"\0\0\x80?")])
    before = path.read_bytes()
    with gguf.open(path) as g:
        gguf.extract(g, "t", tmp_path / "t.npy", numbers=True)
        assert np.load(tmp_path / "t.npy") == 1.0
        with pytest.raises(UsageError, match="exists already"):
            gguf.extract(g, "t", tmp_path / "t.npy")
        with pytest.raises(UsageError, match="is the file that is read"):
            gguf.extract(g, "t", path, overwrite=True)
        with pytest.raises(UsageError, match="no tensor"):
            gguf.extract(g, "u", tmp_path / "u")
        path.write_bytes(b"")
        with pytest.raises(GGUFError, match=r"became shorter|changed"):
            gguf.extract(g, "t", tmp_path / "u")
        path.write_bytes(before)
        with pytest.raises(GGUFError, match="changed while it was read"):
            gguf.extract(g, "t", tmp_path / "u")
    assert sorted(os.listdir(tmp_path)) == ["m.gguf", "t.npy"]
