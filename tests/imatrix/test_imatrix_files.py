"""Files of importance matrices: what is written is read again, what others write is read, all else is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq import gguf, imatrix
from edgeq.errors import FormatError, GGUFError, UsageError
from edgeq.imatrix import Entry, ImportanceMatrix
from tests.gguf import ggufbytes as raw

NAME = "blk.0.attn_q.weight"


def matrix(**more: Any) -> ImportanceMatrix:
    """A dense weight, experts of which one was never reached, and a weight without sums of its inputs."""
    rng = np.random.default_rng(5)
    experts = rng.uniform(0, 9, (3, 4))
    experts[1] = 0
    entries = {
        NAME: Entry(rng.uniform(0, 1e6, (1, 8)), [1024], rng.standard_normal((1, 8))),
        "blk.0.ffn_up_exps.weight": Entry(experts, [700, 0, 324]),
        "output.weight": Entry(rng.uniform(0, 1e-9, (1, 5)), [1024]),
    }
    return ImportanceMatrix(entries, **{"datasets": ["wiki", "ü.txt"], "chunk_count": 2, "chunk_size": 512, **more})


def dat(*entries: tuple[bytes, int, list[float]], tail: bytes = b"", count: int | None = None) -> bytes:
    """A .dat file by hand."""
    parts = [struct.pack("<i", len(entries) if count is None else count)]
    for name, calls, values in entries:
        parts.append(struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values)))
        parts.append(struct.pack(f"<{len(values)}f", *values))
    return b"".join(parts) + tail


def as_gguf(tensors: dict[str, np.ndarray], **metadata: Any) -> Callable[[Path], None]:
    """Writes a GGUF file with these float32 tensors; metadata of None is left out."""
    keys = {"general.type": "imatrix", "imatrix.datasets": ["d"], "imatrix.chunk_count": 1, "imatrix.chunk_size": 512}
    keys |= {k.replace("__", "."): v for k, v in metadata.items()}
    rows = [(n, x.shape, "F32", x.astype(np.float32)) for n, x in tensors.items()]
    return lambda path: gguf.write(path, {k: v for k, v in keys.items() if v is not None}, rows)


def one(sums: Any = (1.0, 4.0), counts: Any = ((2.0,),), **more: Any) -> dict[str, np.ndarray]:
    return {f"{NAME}.in_sum2": np.array(sums), f"{NAME}.counts": np.array(counts), **more}


def test_gguf_files_keep_everything(tmp_path: Path) -> None:
    made = matrix()
    made.save(tmp_path / "im.gguf")
    found = imatrix.load(tmp_path / "im.gguf")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (["wiki", "ü.txt"], 2, 512)
    assert list(found.entries) == sorted(made.entries)
    for name, entry in made.entries.items():
        assert np.array_equal(found.entries[name].sums, entry.sums.astype(np.float32))
        assert np.array_equal(found.entries[name].counts, entry.counts)
    signed, wanted = found.entries[NAME].signed_sums, made.entries[NAME].signed_sums
    assert signed is not None and wanted is not None and np.array_equal(signed, wanted.astype(np.float32))
    assert found.entries["output.weight"].signed_sums is None


def test_gguf_files_are_laid_out_as_llama_cpp_reads_them(tmp_path: Path) -> None:
    matrix().save(tmp_path / "im.gguf")
    with gguf.open(tmp_path / "im.gguf") as file:
        assert {k: file.metadata.type(k) for k in file.metadata} == {
            "general.type": "string", "imatrix.datasets": "array[string]", "imatrix.chunk_count": "u32",
            "imatrix.chunk_size": "u32",
        }  # fmt: skip
        assert file.metadata["general.type"] == "imatrix"
        assert {t.name: (t.shape, t.format.name) for t in file.tensors.values()} == {
            f"{NAME}.in_sum2": ((1, 8), "F32"), f"{NAME}.counts": ((1, 1), "F32"), f"{NAME}.in_sum": ((1, 8), "F32"),
            "blk.0.ffn_up_exps.weight.in_sum2": ((3, 4), "F32"), "blk.0.ffn_up_exps.weight.counts": ((3, 1), "F32"),
            "output.weight.in_sum2": ((1, 5), "F32"), "output.weight.counts": ((1, 1), "F32"),
        }  # fmt: skip


def test_dat_files_hold_mean_squares_times_chunks(tmp_path: Path) -> None:
    matrix().save(tmp_path / "im.dat")
    data = (tmp_path / "im.dat").read_bytes()
    assert data[:4] == struct.pack("<i", 3)
    assert data[4 : 4 + 4 + len(NAME)] == struct.pack("<i", len(NAME)) + NAME.encode()
    assert data[8 + len(NAME) : 16 + len(NAME)] == struct.pack("<ii", 2, 8)
    values = np.frombuffer(data, "<f4", 8, 16 + len(NAME))
    assert np.allclose(values, matrix().entries[NAME].sums[0] / 1024 * 2, rtol=1e-6)
    assert data.endswith(struct.pack("<ii", 2, 12) + "wiki, ü.txt".encode())

    found = imatrix.load(tmp_path / "im.dat")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (["wiki, ü.txt"], 2, 512)
    for name, (n, k) in {NAME: (1, 8), "blk.0.ffn_up_exps.weight": (3, 4), "output.weight": (1, 5)}.items():
        got, wanted = found.importance(name, n, k), matrix().importance(name, n, k)
        assert got is not None and wanted is not None and np.allclose(got, wanted, rtol=1e-6)


def test_a_dat_file_by_hand(tmp_path: Path) -> None:
    tail = struct.pack("<ii", 7, 3) + b"abc"
    (tmp_path / "x").write_bytes(dat((b"a", 7, [7.0, 14.0]), (b"b.weight", 2, [1.0]), tail=tail))
    found = imatrix.load(tmp_path / "x")
    assert (found.datasets, found.chunk_count) == (["abc"], 7)
    assert found.entries["a"].sums.tolist() == [[7 * 512, 14 * 512]]
    assert found.entries["a"].counts.tolist() == [7 * 512]
    importance = imatrix.load(tmp_path / "x", chunk_size=100).importance("a", 1, 2)
    assert importance is not None and importance.tolist() == [1.0, 2.0] and importance.dtype == np.float32
    assert imatrix.load(tmp_path / "x", chunk_size=100).entries["a"].counts.tolist() == [700]

    (tmp_path / "x").write_bytes(dat((b"a", 7, [7.0, 14.0])))  # older still: without the tail
    assert imatrix.load(tmp_path / "x").datasets == [] and imatrix.load(tmp_path / "x").chunk_count == 0
    (tmp_path / "x").write_bytes(dat((b"a", 7, [7.0, 14.0]), tail=struct.pack("<ii", 7, 0)))
    assert imatrix.load(tmp_path / "x").chunk_count == 7


def test_a_gguf_file_byte_by_byte(tmp_path: Path) -> None:
    sums, counts = raw.T("w.in_sum2", (2, 2), raw.F32_TYPE), raw.T("w.counts", (1, 2), raw.F32_TYPE)
    keys = [raw.kv("general.type", raw.STRING, "imatrix"), raw.array("imatrix.datasets", raw.STRING, ["a", "b"]),
            raw.kv("imatrix.chunk_count", raw.U32, 3), raw.kv("imatrix.chunk_size", raw.U32, 64)]  # fmt: skip
    data = struct.pack("<4f", 1, 2, 30, 40).ljust(32, b"\0") + struct.pack("<2f", 1, 10).ljust(32, b"\0")
    table = raw.text(sums.name) + raw.u32(2) + raw.u64(2) * 2 + raw.u32(0) + raw.u64(0)
    table += raw.text(counts.name) + raw.u32(2) + raw.u64(1) + raw.u64(2) + raw.u32(0) + raw.u64(32)
    head = b"GGUF" + raw.u32(3) + raw.u64(2) + raw.u64(len(keys)) + b"".join(keys) + table
    (tmp_path / "im").write_bytes(raw.pad(head, 32) + data)
    found = imatrix.load(tmp_path / "im")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (["a", "b"], 3, 64)
    assert found.entries["w"].sums.tolist() == [[1, 2], [30, 40]] and found.entries["w"].counts.tolist() == [1, 10]
    importance = found.importance("w", 2, 2)
    assert importance is not None and importance.tolist() == [[1, 2], [3, 4]]


def test_what_newer_files_have_besides_is_passed_over(tmp_path: Path) -> None:
    extra = {f"{NAME}.stats": np.array([np.nan] * 12), "odd": np.zeros(3)}
    as_gguf(one(**extra), imatrix__stats_schema=["a"])(tmp_path / "im.gguf")
    assert list(imatrix.load(tmp_path / "im.gguf").entries) == [NAME]
    as_gguf(one(), imatrix__chunk_size=0, imatrix__datasets=None)(tmp_path / "im2.gguf")
    found = imatrix.load(tmp_path / "im2.gguf")
    assert found.chunk_size == 512 and found.datasets == []


WRONG_GGUF: dict[str, tuple[Callable[[Path], None], str]] = {
    "a model": (as_gguf(one(), general__type="model"), "general.type is 'model', expected 'imatrix'"),
    "no type": (as_gguf(one(), general__type=None), "general.type is missing"),
    "a type that is a number": (as_gguf(one(), general__type=3), "general.type is '3'"),
    "no sums": (as_gguf({f"{NAME}.counts": np.ones(1)}), r"attn_q.weight.in_sum2 is missing"),
    "no counts": (as_gguf({f"{NAME}.in_sum2": np.ones(4)}), r"attn_q.weight.counts is missing"),
    "no tensors": (as_gguf({}), "no tensor ends in .in_sum2"),
    "other tensors": (as_gguf({"w": np.ones(4)}), "no tensor ends in .in_sum2"),
    "no name": (as_gguf({".in_sum2": np.ones(4), ".counts": np.ones(1)}), "without its weight"),
    "sums for no whole matrices": (as_gguf(one(np.ones(5), np.ones(2))), "5 sums of squares for 2 counts"),
    "fewer sums than squares": (as_gguf(one(**{f"{NAME}.in_sum": np.ones(1)})), "1 sums, 2 sums of squares"),
    "a negative square": (as_gguf(one((1.0, -2.0))), "attn_q.weight: a sum of squares is -2"),
    "a square that is no number": (as_gguf(one((1.0, np.nan))), "a sum of squares is not finite"),
    "an infinite sum": (as_gguf(one(**{f"{NAME}.in_sum": np.array([1, np.inf])})), "a sum is not finite"),
    "a negative count": (as_gguf(one(counts=[-1.0])), "a count is -1"),
    "a count that is no number": (as_gguf(one(counts=[np.nan])), "a count is not finite"),
    "datasets that are numbers": (as_gguf(one(), imatrix__datasets=[1, 2]), r"array\[i32\], expected array\[string\]"),
    "chunks that are text": (as_gguf(one(), imatrix__chunk_count="2"), "imatrix.chunk_count is 2, expected a number"),
    "chunks under zero": (as_gguf(one(), imatrix__chunk_count=-2), "imatrix.chunk_count is -2"),
    "a size that is a bool": (as_gguf(one(), imatrix__chunk_size=True), "imatrix.chunk_size is True"),
}


@pytest.mark.parametrize("case", WRONG_GGUF)
def test_gguf_files_that_are_refused(case: str, tmp_path: Path) -> None:
    write, message = WRONG_GGUF[case]
    write(tmp_path / "im.gguf")
    with pytest.raises(GGUFError, match=message):
        imatrix.load(tmp_path / "im.gguf")


def test_means_that_float32_cannot_hold_are_refused_naming_file_and_weight(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    ImportanceMatrix({"blk.0.w": Entry([1.0, 1e30], [1e-30])}).save(path)
    with pytest.raises(GGUFError, match=r"tiny\.gguf: blk\.0\.w: a mean square is 1e\+60; expected at most 3\.4"):
        imatrix.load(path)


def test_sums_of_another_type_are_refused(tmp_path: Path) -> None:
    rows = [(f"{NAME}.in_sum2", (2,), "F16", bytes(4)), (f"{NAME}.counts", (1,), "F32", bytes(4))]
    gguf.write(tmp_path / "im.gguf", {"general.type": "imatrix"}, rows)
    with pytest.raises(GGUFError, match=r"attn_q.weight.in_sum2 is F16, expected F32"):
        imatrix.load(tmp_path / "im.gguf")


WRONG_DAT: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "number of entries of 4 bytes, the file has 0 more"),
    "three bytes": (b"abc", "the file has 3 more"),
    "text": (b"The quick brown fox jumps over the dog", "number of entries is"),
    "no entries": (dat(), "number of entries is 0, expected 1"),
    "entries under zero": (dat((b"a", 1, [1.0]), count=-1), "number of entries is -1"),
    "more entries than fit": (dat((b"a", 1, [1.0]), count=2**31 - 1), "entries is 2147483647, expected 1 to 1"),
    "one entry too many": (dat((b"a", 1, [1.0] * 9), count=2), "length of name of an entry of 4 bytes"),
    "one entry too few": (dat((b"a", 1, [1.0]), (b"b", 1, [1.0]), count=1), "bytes behind|dataset"),
    "an empty name": (dat((b"", 1, [1.0, 2.0])), "length of name of an entry is 0, expected 1 to 256"),
    "a long name": (dat((b"a" * 257, 1, [1.0])), "length of name of an entry is 257"),
    "a name past the end": (struct.pack("<ii", 1, 99) + b"abc" + bytes(12), "name of an entry of 99 bytes"),
    "a name that is no text": (dat((b"a\xff", 1, [1.0])), "is not UTF-8"),
    "a name with a NUL": (dat((b"a\0b", 1, [1.0])), "contains a NUL"),
    "no calls": (dat((b"a", 0, [1.0])), "entry a: calls is 0, expected 1"),
    "calls under zero": (dat((b"a", -5, [1.0])), "entry a: calls is -5"),
    "no values": (dat((b"a", 1, []), (b"b", 1, [1.0])), "entry a: number of values is 0"),
    "values past the end": (struct.pack("<ii", 1, 1) + b"a" + struct.pack("<iif", 1, 2**31 - 1, 1.0),
                            "entry a: values of 8589934588 bytes, the file has 4 more"),
    "a value under zero": (dat((b"a", 1, [1.0, -1.0])), "entry a: a sum of squares is -512"),
    "a value that is no number": (dat((b"a", 1, [float("nan")])), "entry a: a sum of squares is not finite"),
    "an infinite value": (dat((b"a", 1, [float("inf")])), "entry a: a sum of squares is not finite"),
    "an entry twice": (dat((b"a", 1, [1.0]), (b"a", 1, [1.0])), "entry a is there twice"),
    "half a tail": (dat((b"a", 1, [1.0]), tail=struct.pack("<i", 1)), "length of name of the dataset"),
    "chunks under zero": (dat((b"a", 1, [1.0]), tail=struct.pack("<ii", -1, 0)), "number of chunks is -1"),
    "a dataset past the end": (dat((b"a", 1, [1.0]), tail=struct.pack("<ii", 1, 9) + b"x"), "dataset of 9 bytes"),
    "something behind it": (dat((b"a", 1, [1.0]), tail=struct.pack("<ii", 1, 1) + b"xyz"), "2 bytes behind"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_DAT)
def test_dat_files_that_are_refused(case: str, tmp_path: Path) -> None:
    data, message = WRONG_DAT[case]
    (tmp_path / "im.dat").write_bytes(data)
    with pytest.raises(FormatError, match=message):
        imatrix.load(tmp_path / "im.dat")


def test_a_file_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "im.dat"
    matrix().save(path)
    data = path.read_bytes()
    without_tail = len(data) - 8 - len("wiki, ü.txt".encode())
    for n in range(len(data)):
        path.write_bytes(data[:n])
        if n == without_tail:
            assert len(imatrix.load(path).entries) == 3
            continue
        with pytest.raises(FormatError):
            imatrix.load(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.sampled_from(["gguf", "dat"]))
def test_damage_is_refused_or_leaves_a_matrix(tmp_path: Path, at: int, junk: bytes, kind: str) -> None:
    path = tmp_path / f"im.{kind}"
    matrix().save(path, overwrite=True)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at : at + len(junk)] = junk
    path.write_bytes(data)
    try:
        found = imatrix.load(path)
    except FormatError:
        return
    for entry in found.entries.values():
        assert np.isfinite(entry.sums).all() and (entry.sums >= 0).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["gguf", "dat"]))
def test_what_is_written_is_read_again(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    numbers = st.floats(0, 2.0**100, width=32)
    entries = {}
    for name in data.draw(st.sets(st.from_regex(r"[a-zä.]{1,30}", fullmatch=True), min_size=1, max_size=4)):
        rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
        sums = [data.draw(st.lists(numbers, min_size=columns, max_size=columns)) for _ in range(rows)]
        counts = data.draw(st.lists(st.integers(1, 1 << 20), min_size=rows, max_size=rows))
        entries[name] = Entry(sums, counts)
    made = ImportanceMatrix(entries, ["x"], 3, data.draw(st.integers(1, 4096)))
    path = tmp_path / f"im.{kind}"
    made.save(path, overwrite=True)
    found = imatrix.load(path, made.chunk_size)
    assert found.chunk_size == made.chunk_size and set(found.entries) == set(entries)
    for name, entry in entries.items():
        again = found.entries[name].shaped(*entry.sums.shape)
        assert again is not None and np.allclose(again.means(), entry.means(), rtol=1e-6, atol=1e-37)
    found.save(tmp_path / f"again.{kind}", overwrite=True)
    assert (tmp_path / f"again.{kind}").read_bytes() == path.read_bytes()


def test_the_format_follows_from_the_name_unless_it_is_said(tmp_path: Path) -> None:
    matrix().save(tmp_path / "a.dat", "gguf")
    matrix().save(tmp_path / "b.gguf", "dat")
    assert (tmp_path / "a.dat").read_bytes()[:4] == b"GGUF" != (tmp_path / "b.gguf").read_bytes()[:4]
    assert set(imatrix.load(tmp_path / "a.dat").entries) == set(imatrix.load(tmp_path / "b.gguf").entries)
    with pytest.raises(UsageError, match="format 'csv': expected gguf or dat"):
        matrix().save(tmp_path / "c", "csv")


@pytest.mark.parametrize("kind", ["gguf", "dat"])
def test_nothing_is_left_of_a_file_that_cannot_be_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"im.{kind}"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        matrix().save(path)
    large = ImportanceMatrix({"w": Entry([1e300], [1])})
    with pytest.raises(UsageError, match=r"w(.in_sum2)?: 1e\+300 is too large for float32"):
        large.save(path, overwrite=True)
    with pytest.raises(UsageError, match="without entries"):
        ImportanceMatrix({}).save(path, overwrite=True)
    with pytest.raises(UsageError, match="chunk_count is 4294967296"):
        matrix(chunk_count=1 << 32).save(path, overwrite=True)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]


def test_a_dat_file_has_no_place_for_weights_without_a_token(tmp_path: Path) -> None:
    made = ImportanceMatrix({"a": Entry([0.0], [0]), "b": Entry([8.0], [2])})
    made.save(tmp_path / "im.dat")
    assert list(imatrix.load(tmp_path / "im.dat").entries) == ["b"]
    with pytest.raises(UsageError, match="no entry of the importance matrix has counted a token"):
        ImportanceMatrix({"a": Entry([0.0], [0])}).save(tmp_path / "no.dat")
    with pytest.raises(UsageError, match=r"name a+…?: 300 bytes"):
        ImportanceMatrix({"a" * 300: Entry([0.0], [1])}).save(tmp_path / "no.dat")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be opened: No such file"):
        imatrix.load(tmp_path / "missing")
    with pytest.raises(FormatError, match="is no regular file"):
        imatrix.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(FormatError, match="is no regular file"):
            imatrix.load(tmp_path / "fifo")
    with pytest.raises(UsageError, match="chunk_size 0: expected 1"):
        imatrix.load(tmp_path / "missing", chunk_size=0)
