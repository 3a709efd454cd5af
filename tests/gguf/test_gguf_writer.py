"""The writer: round trips, exact types, streaming."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import ggufbytes as b
import numpy as np
import pytest
from ggufbytes import G, T
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import UsageError
from edgeq.gguf import Value
from edgeq.quants import FORMATS

RELAXED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROOT = Path(__file__).parents[2]

keys = st.text(min_size=1, max_size=20).filter(lambda s: "\0" not in s and s.isprintable() and s != "general.alignment")
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "u8": st.integers(0, 2**8 - 1),
    "i8": st.integers(-(2**7), 2**7 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "i16": st.integers(-(2**15), 2**15 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "string": st.text(max_size=30),
}
values = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda t: st.one_of(
        st.builds(Value, st.just(t), SCALARS[t]),
        st.builds(Value, st.just(f"array[{t}]"), st.lists(SCALARS[t], max_size=5)),
    )
)
metadata = st.dictionaries(keys, values, max_size=6)


@st.composite
def tensors(draw: st.DrawFn) -> list[tuple[str, tuple[int, ...], str, bytes]]:
    out = []
    for name in draw(st.lists(keys.map(lambda s: s[:15]), max_size=4, unique=True)):
        fmt = FORMATS[draw(st.sampled_from(sorted(FORMATS)))]
        shape = (*draw(st.lists(st.integers(1, 3), max_size=3)), fmt.block * draw(st.integers(1, 2)))
        size = fmt.row_bytes(shape[-1]) * int(np.prod(shape[:-1]))
        out.append((name, shape, fmt.name, draw(st.integers(0, 255)).to_bytes(1, "little") * size))
    return out


def same(found: Any, wanted: Any) -> bool:
    return (found.tolist() if hasattr(found, "tolist") else found) == wanted


@RELAXED
@given(metadata, tensors(), st.sampled_from([None, 8, 32, 256]), st.sampled_from([2, 3]), st.booleans())
def test_read_gives_back_what_was_written(
    tmp_path: Path,
    meta: dict[str, Value],
    rows: list[Any],
    alignment: int | None,
    version: int,
    pad_end: bool,
) -> None:
    path = tmp_path / "m.gguf"
    if alignment:
        meta["general.alignment"] = Value("u32", alignment)
    written = gguf.write(path, meta, rows, overwrite=True, version=version, pad_end=pad_end)
    assert written == (str(path),) and os.listdir(tmp_path) == ["m.gguf"]
    with gguf.open(path) as g:
        assert (g.version, g.alignment, g.warnings) == (version, alignment or 32, [])
        assert list(g.metadata) == list(meta)
        for key, entry in meta.items():
            assert g.metadata.type(key) == entry.type and same(g.metadata[key], entry.value)
        assert [(t.name, t.shape, t.format.name, t.data.tobytes()) for t in g.tensors.values()] == rows
    copied = tmp_path / "copy"
    assert gguf.copy(path, copied) == [] and copied.read_bytes() == path.read_bytes()
    copied.unlink()


@pytest.mark.parametrize("alignment", [8, 32, 4096])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("last_pad", [True, False])
@pytest.mark.parametrize("with_tensors", [True, False])
def test_copy_is_identical(tmp_path: Path, alignment: int, version: int, last_pad: bool, with_tensors: bool) -> None:
    nan = struct.pack("<I", 0x7FA00001)  # a signalling NaN with a payload
    odd = [
        b.text("nan") + b.u32(b.F32) + nan,
        b.text("nans") + b.u32(b.ARRAY) + b.u32(b.F32) + b.u64(2) + nan * 2,
        b.kv("text", b.STRING, b"\xff\xfe\0\xed\xa0\x80"),
        b.array("texts", b.STRING, [b"\xff", b"\0", ""]),
        b.kv("general.alignment", b.U32, alignment),
    ]
    rows = [T("x", (3, 1, 1)), T("y", ()), T("z", (5,), b.F16_TYPE)] if with_tensors else []
    file = G(b.small().kvs + odd, rows, alignment, version=b.u32(version), last_pad=last_pad)
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    source.write_bytes(file.build())
    assert gguf.copy(source, target) == []
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, g: d + b"tail", "4 bytes after the last tensor"),
        (lambda d, g: d[: len(d) - 5], "of 28 bytes of padding"),
        (lambda d, g: d[:-1] + b"x", "padding after it is not zero"),
        (lambda d, g: d[: len(g.head())] + b"x" + d[len(g.head()) + 1 :], "padding before the first tensor"),
    ],
)
def test_copy_says_why_it_is_not_identical(tmp_path: Path, change: Any, words: str) -> None:
    g = G(tensors=[T("a", (8,)), T("b", (1,))])
    source = tmp_path / "a.gguf"
    source.write_bytes(change(g.build(), g))
    reasons = gguf.copy(source, tmp_path / "b.gguf")
    assert len(reasons) == 1 and words in reasons[0]
    assert (tmp_path / "b.gguf").read_bytes() == g.build()


@pytest.mark.parametrize(
    ("value", "kind", "back"),
    [
        (True, "bool", True), (0, "u32", 0), (-1, "i32", -1), (2**32, "i64", 2**32),
        (2**63, "u64", 2**63), (0.5, "f32", 0.5),
        ("é", "string", "é"), (b"\xff", "string", "\udcff"), ([1, -1], "array[i32]", [1, -1]),
        ([2**31], "array[i64]", [2**31]), ([2**63], "array[u64]", [2**63]),
        ([1, 0.5], "array[f32]", [1.0, 0.5]),
        (["a", ""], "array[string]", ["a", ""]), ((True, False), "array[bool]", [True, False]),
        (np.array([1, 2], np.uint16), "array[u16]", [1, 2]),
        (np.float64(0.1), "f32", struct.unpack("f", struct.pack("f", 0.1))[0]),
        (np.int8(-3), "i8", -3), (np.array([0.5]), "array[f64]", [0.5]),
        (np.array([True]), "array[bool]", [True]),
        (Value("array[string]", []), "array[string]", []), (Value("u8", b"\7"), "u8", 7),
        (Value("f64", 1), "f64", 1.0),
    ],
)  # fmt: skip
def test_types_of_plain_values(tmp_path: Path, value: Any, kind: str, back: Any) -> None:
    gguf.write(tmp_path / "m.gguf", {"k": value})
    with gguf.open(tmp_path / "m.gguf") as g:
        assert g.metadata.type("k") == kind and same(g.metadata["k"], back)


def test_streams_a_tensor_larger_than_what_is_in_memory(tmp_path: Path) -> None:
    """192 MiB in chunks, with less memory than that left for the process."""
    code = f"""
import resource
from edgeq import gguf
rows = [("a", (1 << 20, 48), "F32")]
chunk = bytes(range(256)) * 4096
with gguf.Writer({str(tmp_path / "big.gguf")!r}, {{}}, rows) as w:
    size = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), -1))
    w.write("a", (chunk for _ in range(192)))
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    with gguf.open(tmp_path / "big.gguf") as g:
        assert g.tensors["a"].nbytes == 192 << 20
        assert g.tensors["a"].data[-1].tobytes() == (bytes(range(256)))[-192:]
    (tmp_path / "big.gguf").unlink()


ROWS = [("a", (8,), "F32"), ("b", (2, 32), "Q8_0")]


def test_writer_wants_tensors_in_order(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(UsageError, match="out of order; expected a"), gguf.Writer(path, {}, ROWS) as w:
        w.write("b", bytes(68))
    with pytest.raises(UsageError, match="tensor b: not written"), gguf.Writer(path, {}, ROWS) as w:
        w.write("a", bytes(32))
    with gguf.Writer(path, {}, ROWS[:1]) as w:
        w.write("a", bytes(32))
        with pytest.raises(UsageError, match="written already"):
            w.write("a", bytes(32))
    with gguf.open(path) as g:  # the call that came too much changed nothing
        assert list(g.tensors) == ["a"]
    path.unlink()
    with pytest.raises(UsageError, match="with statement"):
        gguf.Writer(path, {}, ROWS).write("a", bytes(32))
    assert os.listdir(tmp_path) == []


def test_a_failed_tensor_cannot_be_repaired_by_writing_it_again(tmp_path: Path) -> None:
    def short_then(*more: bytes) -> None:
        with gguf.Writer(tmp_path / "m.gguf", {}, ROWS[:1]) as w:
            with pytest.raises(UsageError, match="got 16 bytes"):
                w.write("a", bytes(16))
            for data in more:
                w.write("a", data)

    with pytest.raises(UsageError, match="failed"):
        short_then(bytes(32))
    with pytest.raises(UsageError, match="not written"):
        short_then()
    assert os.listdir(tmp_path) == []
