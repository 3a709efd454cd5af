"""The reader on honest files: values, types, arrays, tensors, lifetime."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import ggufbytes as b
import numpy as np
import pytest
from ggufbytes import G, T

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError
from edgeq.gguf import arrays, limits

NAMES = {
    b.U8: "u8", b.I8: "i8", b.U16: "u16", b.I16: "i16", b.U32: "u32", b.I32: "i32", b.F32: "f32",
    b.BOOL: "bool",
    b.STRING: "string", b.U64: "u64", b.I64: "i64", b.F64: "f64",
}  # fmt: skip


def put(folder: Path, g: G | bytes, name: str = "m.gguf") -> Path:
    path = folder / name
    path.write_bytes(g if isinstance(g, bytes) else g.build())
    return path


def test_every_metadata_type(tmp_path: Path, scanner: str) -> None:
    with gguf.open(put(tmp_path, b.small())) as g:
        m = g.metadata
        want = {
            b.U8: [0, 255], b.I8: [-128, 127], b.U16: [0, 65535], b.I16: [-32768, 32767],
            b.U32: [0, 2**32 - 1],
            b.I32: [-(2**31), 2**31 - 1], b.F32: [0.5, -2.0], b.BOOL: [False, True], b.STRING: ["", "a ☃"],
            b.U64: [0, 2**64 - 1], b.I64: [-(2**63), 2**63 - 1], b.F64: [0.1, -1e300],
        }  # fmt: skip
        for kind, values in want.items():
            scalar, many, none = m[f"scalar.{kind}"], m[f"array.{kind}"], m[f"none.{kind}"]
            assert scalar == values[1] and type(scalar) is type(values[1])
            assert m.type(f"scalar.{kind}") == NAMES[kind]
            assert m.type(f"array.{kind}") == m.type(f"none.{kind}") == f"array[{NAMES[kind]}]"
            assert many.tolist() == values and list(many) == values and len(many) == 2
            assert [type(v) for v in many] == [type(v) for v in values]
            assert many[0] == values[0] and many[-1] == values[1] and many[0:1] == values[:1]
            assert values[1] in many and many == values and many != values[:1]
            assert none.tolist() == [] and len(none) == 0
            with pytest.raises(IndexError):
                many[2]
            if kind != b.STRING:
                assert many.numpy().tolist() == values
                assert many.numpy().dtype == np.dtype("bool" if kind == b.BOOL else "<" + b.CODES[kind])
                assert not many.numpy().flags.writeable
        assert next(iter(m)) == "general.architecture" and len(m) == 37
        assert m.get("nothing") is None and "nothing" not in m
        with pytest.raises(KeyError):
            m["nothing"]


def test_strings_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    odd = b"a\xff\xed\xa0\x80\xc3"
    g = G(kvs=[b.kv("s", b.STRING, odd), b.array("t", b.STRING, ["x", odd])])
    with gguf.open(put(tmp_path, g)) as f:
        assert f.metadata["s"].encode("utf-8", "surrogateescape") == odd == f.metadata.raw("s")
        assert f.metadata["t"].bytes_at(1) == odd == f.metadata["t"].bytes_at(-1)
        assert f.metadata["t"].tobytes() == [b"x", odd] and f.metadata["t"].bytes_at(0) == b"x"
        assert f.metadata["t"][0] == f.metadata["t"][-2] == "x"
        assert f.metadata["t"][1] == f.metadata["s"] == f.metadata["t"].tolist()[1]


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype=np.float32)
    g = G(tensors=[T("a", (4, 3), data=numbers.tobytes()), T("q", (64, 2, 3), b.Q4_0_TYPE), T("s", ())])
    path = put(tmp_path, g)
    raw = path.read_bytes()
    with gguf.open(path) as f:
        a, q, s = f.tensors.values()
        assert (a.name, a.shape, a.format.name, a.nbytes, a.part) == ("a", (3, 4), "F32", 48, 0)
        assert (q.shape, q.format.name, q.nbytes, q.data.shape) == ((3, 2, 64), "Q4_0", 216, (6, 36))
        assert s.shape == () and s.data.shape == (1, 4)
        assert a.data.dtype == np.uint8 and a.data.shape == (3, 16)
        assert np.array_equal(a.data.view(np.float32).ravel(), numbers)
        for t in (a, q, s):
            assert bytes(t.data.tobytes()) == raw[t.offset : t.offset + t.nbytes]
            assert t.address == t.data.__array_interface__["data"][0] == f.parts[0].address + t.offset
            assert t.offset % f.alignment == 0
            with pytest.raises(ValueError, match="read-only"):
                t.data[0, 0] = 1
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                t.data.flags.writeable = True


def test_address_with_the_native_library(tmp_path: Path, scanner: str) -> None:
    with gguf.open(put(tmp_path, b.small())) as g:
        t = g.tensors["b"]
        assert t.address == t.data.__array_interface__["data"][0]
    with pytest.raises(UsageError, match="closed"):
        _ = t.address


def test_arrays_outlive_the_file_and_closing_twice_is_fine(tmp_path: Path) -> None:
    g = gguf.open(put(tmp_path, b.small()))
    data = g.tensors["a"].data
    before = data.copy()
    g.close()
    g.close()
    assert np.array_equal(data, before)
    with pytest.raises(UsageError, match="closed"):
        _ = g.tensors["a"].data
    assert not g.changed()


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    good, bad = put(tmp_path, b.small()), put(tmp_path, b.small().build()[:300], "bad.gguf")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        gguf.open(good).close()
        with pytest.raises(GGUFError):
            gguf.open(bad)
        with pytest.raises(GGUFError):
            gguf.open(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_paths_of_all_kinds(tmp_path: Path) -> None:
    path = put(tmp_path, b.small(), "naïve \n.gguf")
    odd = os.fsencode(tmp_path) + b"/\xff.gguf"
    os.rename(path, odd)
    for p in (odd, os.fsdecode(odd), Path(os.fsdecode(odd))):
        with gguf.open(p) as g:
            assert len(g.tensors) == 3
    with pytest.raises(UsageError, match="path"):
        gguf.open(3)  # type: ignore[arg-type]


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, b.small())
    with gguf.open(path) as g:
        assert not g.changed()
        assert g.fingerprint[0][2] == path.stat().st_size
        other = put(tmp_path, b.small(), "other.gguf")
        os.replace(other, path)  # replaced by rename: the open file is as it was
        assert not g.changed()
    with gguf.open(path) as g:
        os.truncate(path, 100)
        assert g.changed()
        with pytest.raises(GGUFError, match="became shorter"):
            g.parts[0].read(90, 50)


def test_a_file_that_changes_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq.gguf import part

    path = put(tmp_path, b.small())
    real = part.read_header

    def meanwhile(cursor: object) -> object:
        header = real(cursor)  # type: ignore[arg-type]
        os.utime(path, ns=(1, 1))
        return header

    monkeypatch.setattr(part, "read_header", meanwhile)
    with pytest.raises(GGUFError, match="changed while it was opened"):
        gguf.open(path)


def test_a_vocabulary_of_262144_entries(tmp_path: Path, scanner: str) -> None:
    count = 262_144
    tokens = [f"▁token {i}" * (i % 5) for i in range(count)]
    strings = b"".join(b.text(t) for t in tokens)
    key = b.text("tokenizer.ggml.tokens") + b.u32(b.ARRAY) + b.u32(b.STRING) + b.u64(count) + strings
    scores = (
        b.text("tokenizer.ggml.scores") + b.u32(b.ARRAY) + b.u32(b.F32) + b.u64(count) + struct.pack("<f", 0.5) * count
    )
    path = put(tmp_path, G(kvs=[key, scores], tensors=[T("a")]))
    assert len(strings) > 8 << 20  # more than the reader's second read
    start = time.perf_counter()
    g = gguf.open(path)
    seconds = time.perf_counter() - start
    with g:
        found = g.metadata["tokenizer.ggml.tokens"]
        assert found.tolist() == tokens and found[count - 1] == tokens[-1]
        assert g.metadata["tokenizer.ggml.scores"].tolist() == [0.5] * count
    assert seconds < 1.0, seconds  # measured: 0.06 s in Python, 0.01 s in C


def test_a_header_that_ends_where_a_read_ends(tmp_path: Path, scanner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every position of the border between two reads, in every kind of object."""
    from edgeq.gguf import cursor

    path = put(tmp_path, b.small())
    whole = {k: v if isinstance(v, (int, float, str)) else v.tolist() for k, v in gguf.open(path).metadata.items()}
    for first in range(8, 400):
        monkeypatch.setattr(cursor, "_FIRST_READ", first)
        with gguf.open(path) as g:
            got = {k: v if isinstance(v, (int, float, str)) else v.tolist() for k, v in g.metadata.items()}
            assert got == whole and list(g.tensors) == ["a", "b", "c.weight"]


def test_strings_are_counted_over_all_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STRINGS", 5)
    for last in (2, 3):
        g = G(kvs=[b.array(key, b.STRING, ["x"] * n) for key, n in (("k", 3), ("one", 0), ("last", last))])
        path = put(tmp_path, g)
        if last == 2:
            gguf.open(path).close()
        else:
            with pytest.raises(GGUFError, match="array of key last has a count of 3; at most 5 strings"):
                gguf.open(path)


def test_the_two_scanners_agree(scan_library: object, scanner: str) -> None:
    good = b"".join(b.text("x" * n) for n in (0, 1, 7, 300))
    samples = [
        b"", b"\0" * 7, b"\0" * 8, good, good[:-1], good + b"\0" * 7,
        good + b"\xff" * 8, b"\xff" * 64, b.u64(1 << 63) + good,
        b.text("ab") + b.u64((1 << 64) - 10) + good, b.u64((1 << 32) - 8) + good, b.u64(1 << 32) + good,
    ]  # fmt: skip
    for data in samples:
        for start in (0, 1, 8):
            for count in (0, 1, 2, 3, 4, 5, 100):
                want = reference_scan(data, start, count)
                assert arrays.scan_strings(b"#" * start + data, start, count).tolist() == want
                assert arrays.scan_python(b"#" * start + data, start, count).tolist() == want


def reference_scan(data: bytes, start: int, count: int) -> list[int]:
    ends: list[int] = []
    at = 0
    while len(ends) < count and at + 8 <= len(data):
        at += 8 + int.from_bytes(data[at : at + 8], "little")
        if at > len(data):
            break
        ends.append(at)
    return ends


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_alignment_is_read_and_kept(tmp_path: Path, alignment: int) -> None:
    tensors = [T("first", (1,)), T("second", (1,))]
    g = G(kvs=[b.kv("general.alignment", b.U32, alignment)], tensors=tensors, alignment=alignment)
    start = len(b.pad(g.head(), alignment))
    with gguf.open(put(tmp_path, g)) as f:
        assert f.alignment == alignment
        assert [t.offset for t in f.tensors.values()] == [start, start + alignment]
        assert [t.data.tobytes() for t in f.tensors.values()] == [b"\1" * 4, b"\2" * 4]
    with gguf.open(put(tmp_path, b.small())) as f:
        assert f.alignment == limits.DEFAULT_ALIGNMENT and f.version == 3 and f.warnings == []


def test_the_package_lists_its_names() -> None:
    for name in gguf.__all__:
        assert getattr(gguf, name) is not None
    with pytest.raises(AttributeError):
        _ = gguf.nothing


def test_opening_imports_no_numpy() -> None:
    import subprocess
    import sys

    code = "import sys, edgeq.gguf; sys.exit('numpy' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
