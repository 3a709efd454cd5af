"""Edits: what they change and what they leave alone, held against the gguf package's reader."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import ggufbytes as b
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError
from edgeq.gguf import Value, editing

package = pytest.importorskip("gguf", reason="the gguf package is part of the test extras")

ROWS = [
    ("a", (3, 4), "F32", np.arange(12, dtype=np.float32)),
    ("b.weight", (2, 32), "Q8_0", np.arange(68, dtype=np.uint8)),
    ("c", (5,), "F16", np.arange(5, dtype=np.float16)),
]
META: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "a name",
    "n": 7,
    "small": Value("u8", 3),
    "eps": 1e-5,
    "flag": True,
    "list": Value("array[u16]", [1, 2, 3]),
    "words": ["x", "", "ü"],
    "last": Value("i64", -1),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gguf.write(tmp_path / "m.gguf", META, ROWS)
    return tmp_path / "m.gguf"


def contents(path: Path) -> dict[str, Any]:
    """Metadata as the package reads it, and the bytes of the tensors."""
    r = package.GGUFReader(path)
    found = {k: (f.types, f.contents()) for k, f in r.fields.items() if not k.startswith("GGUF.")}
    tensors = {t.name: (t.tensor_type.name, t.shape.tolist(), t.data.tobytes()) for t in r.tensors}
    return {"meta": found, "tensors": tensors}


def same_tensors(path: Path) -> bool:
    with gguf.open(path) as g:
        return [g.tensors[n].raw.tobytes() for n, *_ in ROWS] == [d.tobytes() for *_, d in ROWS]


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"set": {"n": 8}}, "in place"),
        ({"set": {"n": 7}}, "nothing"),
        ({"set": {"general.name": "a game"}}, "in place"),
        ({"set": {"general.name": "a game", "n": 1, "flag": False}}, "in place"),  # one sector
        ({"set": {"general.name": "longer than it was before"}}, "rewrite"),
        ({"set": {"general.name": ""}}, "in place"),  # what follows moves, but fits the padding and one sector
        ({"set": {"eps": 1}}, "in place"),
        ({"set": {"list": [4, 5, 6]}}, "in place"),
        ({"set": {"new": 1}}, "rewrite"),
        ({"unset": ["n"]}, "in place"),
        ({"unset": ["general.architecture", "n"]}, "rewrite"),
        ({"unset": list(META)}, "rewrite"),
        ({"rename": {"n": "m"}}, "in place"),
        ({"rename": {"n": "other"}}, "rewrite"),
        ({"rename_tensors": {"a": "z"}}, "in place"),
        ({"rename_tensors": {"a": "c", "c": "a"}}, "in place"),
        ({"rename_tensors": {"a": "a.weight"}}, "rewrite"),
        ({"set": {"general.alignment": 1024}}, "rewrite"),
        ({"unset": ["flag"], "rename": {"n": "flag"}, "set": {"eps": 2.0, "x": "y"}}, "rewrite"),
    ],
)
def test_only_what_was_asked_for_changes(path: Path, changes: dict[str, Any], how: str) -> None:
    before, inode, data = contents(path), path.stat().st_ino, path.read_bytes()
    plan = gguf.edit(path, **changes, dry_run=True)
    assert path.read_bytes() == data
    done = gguf.edit(path, **changes)
    assert done == plan and (done.how, done.path) == (how, str(path))
    assert (path.stat().st_ino == inode) == (how != "rewrite")
    assert os.listdir(path.parent) == ["m.gguf"]
    after = contents(path)
    meta = dict(before["meta"])
    for key in changes.get("unset", ()):
        del meta[key]
    meta = {changes.get("rename", {}).get(k, k): v for k, v in meta.items()}
    for key, value in changes.get("set", {}).items():
        types = meta[key][0] if key in meta else after["meta"][key][0]
        meta[key] = (types, value)
    assert list(after["meta"]) == list(meta)
    for key, (types, value) in meta.items():
        assert after["meta"][key][0] == types
        assert after["meta"][key][1] == (pytest.approx(value) if isinstance(value, float) else value)
    names = changes.get("rename_tensors", {})
    assert after["tensors"] == {names.get(k, k): v for k, v in before["tensors"].items()}
    touched = {c.key for c in done.changes}
    assert touched == {k for k in {*before["meta"], *after["meta"]} if before["meta"].get(k) != after["meta"].get(k)}
    assert gguf.verify(path) == []
    with gguf.open(path) as g:
        assert g.warnings == [] and g.alignment == changes.get("set", {}).get("general.alignment", 32)


def test_changes_carry_old_and_new_values(path: Path) -> None:
    done = gguf.edit(path, set={"n": 8, "new": "x"}, unset=["flag"], dry_run=True)
    assert done.changes == (
        ("n", Value("u32", 7), Value("u32", 8)),
        ("flag", Value("bool", True), None),
        ("new", None, Value("string", "x")),
    )


def test_a_type_that_changes_alone_is_a_change(path: Path) -> None:
    done = gguf.edit(path, set={"n": Value("i32", 7)})
    assert done.how == "in place" and done.changes == (("n", Value("u32", 7), Value("i32", 7)),)


def test_another_alignment_moves_tensors_also_where_the_header_keeps_its_length(tmp_path: Path) -> None:
    path, kept = tmp_path / "m.gguf", 0
    for n in range(64):
        gguf.write(path, {"general.alignment": 32, "pad": "x" * n}, ROWS, overwrite=True)
        with gguf.open(path) as g:
            before = g.parts[0].header.data_offset
        assert gguf.edit(path, set={"general.alignment": 64}).how == "rewrite"
        with gguf.open(path) as g:
            kept += g.parts[0].header.data_offset == before
        assert same_tensors(path)
    assert 0 < kept < 64


def test_a_key_keeps_its_type_unless_another_is_given(path: Path) -> None:
    gguf.edit(path, set={"small": 255, "eps": 2, "last": Value("u32", 5)})
    with gguf.open(path) as g:
        assert [g.metadata.type(k) for k in ("small", "eps", "last")] == ["u8", "f32", "u32"]
        assert [g.metadata[k] for k in ("small", "eps", "last")] == [255, 2.0, 5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"set": {"small": 256}}, "small.*u8"),
        ({"set": {"n": "text"}}, "key n"),
        ({"set": {"list": 3}}, "key list"),
        ({"set": {"e": []}}, "cannot infer"),
        ({"set": {"": 1}}, "0 bytes"),
        ({"set": {"a\0": 1}}, "NUL"),
        ({"set": {"general.alignment": 24}}, "power of two"),
        ({"set": {"general.alignment": "x"}}, "power of two"),
        ({"set": {"general.alignment": 3}}, r"key general\.alignment: found u32 3; expected a u32 power of two"),
        ({"set": {"general.alignment": Value("u64", 32)}}, "power of two"),
        ({"set": {"split.count": 2}}, "split"),
        ({"unset": ["split.no"]}, "split"),
        ({"rename": {"n": "split.no"}}, "split"),
        ({"rename": {"split.no": "n"}}, "split"),
        ({"unset": ["nn"]}, "nn: is not there; did you mean n"),
        ({"unset": ["n", "n"]}, "not there"),
        ({"unset": ["n", "n"]}, "key n: given twice"),
        ({"rename": {"general.nam": "x"}}, "did you mean general.name"),
        ({"rename": {"n": "flag"}}, "flag: is there already"),
        ({"rename": {"n": "k" * 65536}}, "65536 bytes"),
        ({"rename_tensors": {"d": "e"}}, "no tensor d"),
        ({"rename_tensors": {"a": "c"}}, "tensor c: is there already"),
        ({"rename_tensors": {"a": "x", "c": "x"}}, "given twice"),
        ({"rename_tensors": {"a": "x" * 65}}, "65 bytes"),
        ({"rename_tensors": {"a": ""}}, "0 bytes"),
        ({"rename_tensors": {"a": "\ud800"}}, "surrogate"),
    ],
)
def test_edits_that_are_refused_leave_the_file(path: Path, changes: dict[str, Any], words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match=words):
        gguf.edit(path, **changes)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["m.gguf"]


def test_what_the_strict_reader_would_refuse_never_gets_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More metadata than the reader takes; and, had the check of the header a hole, the check of the file."""
    before = path.read_bytes()
    with monkeypatch.context() as m:
        m.setattr("edgeq.gguf.limits.MAX_HEADER", 3 << 20)
        with pytest.raises(GGUFError, match=r"edited: .*header over"):
            gguf.edit(path, set={"big": "x" * (4 << 20)})
    monkeypatch.setattr(editing.PartFile, "belong_like", lambda file, part: file.write(b"rubbish"))
    with pytest.raises(GGUFError, match="not a GGUF file"):
        gguf.edit(path, set={"new": 1})
    assert path.read_bytes() == before and os.listdir(path.parent) == ["m.gguf"]


def test_output_leaves_the_source(path: Path) -> None:
    before, out = path.read_bytes(), path.parent / "out.gguf"
    assert gguf.edit(path, set={"n": 8}, output=out).how == "rewrite"
    assert path.read_bytes() == before and same_tensors(out)
    with gguf.open(out) as g:
        assert g.metadata["n"] == 8
    with pytest.raises(UsageError, match="exists already"):
        gguf.edit(path, set={"n": 9}, output=out)
    gguf.edit(path, output=out, overwrite=True)
    assert out.read_bytes() == before
    link = path.parent / "link.gguf"
    link.symlink_to(path)
    with pytest.raises(UsageError, match="is the file that is read"):
        gguf.edit(path, output=link, overwrite=True)
    assert path.read_bytes() == before


def test_oddities_outside_the_edit_stay(tmp_path: Path) -> None:
    """Bytes after the last tensor and between tensors are nobody's business."""
    path = tmp_path / "odd.gguf"
    file = b.small()
    file.tail = b"left behind by another tool"
    data = bytearray(file.build())
    with gguf.open(_written(path, bytes(data))) as g:
        gap = g.tensors["b"].offset + g.tensors["b"].nbytes
        start, table_end = g.parts[0].header.data_offset, g.parts[0].header.table_end
    assert start > table_end
    data[gap] = data[table_end] = 0xAA
    path.write_bytes(data)
    assert gguf.edit(path, set={"scalar.4": 2**32 - 1}).how == "nothing" and path.read_bytes() == data
    gguf.edit(path, set={"scalar.4": 0})
    assert path.read_bytes()[table_end:] == data[table_end:]
    for changes in ({"set": {"scalar.4": 1}}, {"set": {"general.architecture": "a much longer architecture"}}):
        gguf.edit(path, **changes)  # type: ignore[arg-type]
        with gguf.open(path) as g:
            assert path.read_bytes()[g.parts[0].header.data_offset :] == data[start:]


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("last_pad", [True, False])
def test_files_without_tensors(tmp_path: Path, last_pad: bool) -> None:
    file = b.G(kvs=[b.kv("k", b.U32, 1), b.kv("s", b.STRING, "text")], last_pad=last_pad)
    path = _written(tmp_path / "v.gguf", file.build())
    before = path.stat().st_size
    assert gguf.edit(path, set={"k": 2}).how == "in place"
    assert path.stat().st_size == before
    assert gguf.edit(path, set={"s": "longer " * 20}).how == "rewrite"
    assert (path.stat().st_size % 32 == 0) == last_pad
    assert gguf.edit(path, set={"general.alignment": 64}).how == "rewrite"
    assert gguf.edit(path, unset=["k", "s", "general.alignment"]).how == "rewrite"
    with gguf.open(path) as g:
        assert len(g.metadata) == 0


def test_version_2_stays_version_2(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    gguf.write(path, META, ROWS, version=2)
    gguf.edit(path, set={"new": "x"})
    with gguf.open(path) as g:
        assert g.version == 2
    assert same_tensors(path)


def test_a_change_across_a_sector_is_not_made_in_place(tmp_path: Path) -> None:
    """For every place that a value can have around a boundary: in place exactly if no boundary lies in what changes."""
    path = tmp_path / "m.gguf"
    seen = set()
    for n in range(440, 480):
        gguf.write(path, {"pad": "x" * n, "s": "01234567"}, overwrite=True)
        at = path.read_bytes().index(b"01234567")
        done = gguf.edit(path, set={"s": "abcdefgh"})
        torn = at // editing.SECTOR != (at + 7) // editing.SECTOR
        assert done.how == ("rewrite" if torn else "in place")
        seen.add(torn)
        with gguf.open(path) as g:
            assert g.metadata["s"] == "abcdefgh"
    assert seen == {True, False}


def test_in_place_is_one_write_within_a_sector(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes it safe: a kill comes before or after it."""
    real, writes = os.write, []

    def noted(fd: int, data: Any) -> int:
        writes.append((os.lseek(fd, 0, os.SEEK_CUR), len(data)))
        return real(fd, data)

    monkeypatch.setattr(os, "write", noted)
    for changes in ({"set": {"n": 8}}, {"set": {"last": 5}}, {"unset": ["n"]}, {"rename_tensors": {"a": "z"}}):
        writes.clear()
        assert gguf.edit(path, **changes).how == "in place"  # type: ignore[arg-type]
        ((offset, n),) = writes
        assert offset // editing.SECTOR == (offset + n - 1) // editing.SECTOR


def test_split_models(tmp_path: Path) -> None:
    parts = [Path(p) for p in gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=1)]
    before = [p.read_bytes() for p in parts]
    assert gguf.edit(parts[0], set={"general.name": "another name"}).path == str(parts[0])
    assert [p.read_bytes() for p in parts[1:]] == before[1:]
    done = gguf.edit(parts[0], rename_tensors={"c": "c.weight"})
    assert done.path == str(parts[2]) and parts[1].read_bytes() == before[1]
    with gguf.open(parts[0]) as g:
        assert g.metadata["general.name"] == "another name" and list(g.tensors) == ["a", "b.weight", "c.weight"]
    now = [p.read_bytes() for p in parts]
    for changes, words in (
        ({"rename_tensors": {"a": "x", "b.weight": "y"}}, "2 parts"),
        ({"rename_tensors": {"c.weight": "x"}, "set": {"n": 1}}, "2 parts"),
        ({"rename_tensors": {"a": "b.weight"}}, "there already"),
        ({"set": {"n": 1}, "output": tmp_path / "out.gguf"}, "split into 3 parts"),
        ({"unset": ["split.count"]}, "says how the model is split"),
    ):
        with pytest.raises(UsageError, match=words):
            gguf.edit(parts[0], **changes)  # type: ignore[arg-type]
    with pytest.raises(GGUFError, match="open the first"):
        gguf.edit(parts[1], set={"n": 1})
    assert [p.read_bytes() for p in parts] == now and len(os.listdir(tmp_path)) == 3


def test_mode_and_link_stay(path: Path) -> None:
    path.chmod(0o640)
    link = path.parent / "link.gguf"
    link.symlink_to("m.gguf")
    gguf.edit(link, set={"new": 1})
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    with gguf.open(path) as g:
        assert g.metadata["new"] == 1


def test_read_only_files_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    for changes in ({"n": 8}, {"new": 1}):
        with pytest.raises(UsageError, match="read-only"):
            gguf.edit(path, set=changes)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
KEY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30)
VALUE = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(width=32),
    TEXT,
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5),
    st.lists(TEXT, min_size=1, max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEY.filter(lambda k: not k.startswith(("split.", "general.alignment"))), VALUE, max_size=4))
def test_set_and_unset_is_where_we_began(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("h") / "m.gguf"
    gguf.write(path, {"x.first": 1}, ROWS)
    values.pop("x.first", None)
    before = path.read_bytes()
    gguf.edit(path, set=values)
    with gguf.open(path) as g:
        for key, value in values.items():
            found = g.metadata[key]
            if isinstance(value, float) and value != value:
                assert found != found
            else:
                assert (found if isinstance(value, (str, bool, int, float)) else found.tolist()) == value
    assert same_tensors(path)
    r = package.GGUFReader(path)
    assert [k for k in r.fields if not k.startswith("GGUF.")][1:] == list(values)
    gguf.edit(path, unset=values)
    assert path.read_bytes() == before
