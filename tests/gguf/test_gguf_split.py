"""Split models: written, read as one, joined again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError

META = {"general.architecture": "llama", "general.name": "split me"}
ROWS = [(f"t{i}", (i + 1, 8), "F32", np.full((i + 1, 8), i, np.float32)) for i in range(7)]


def parts(folder: Path) -> list[str]:
    return sorted(p for p in os.listdir(folder) if "-of-" in p)


def check(path: str | Path) -> None:
    with gguf.open(path) as g:
        assert list(g.tensors) == [row[0] for row in ROWS]
        for name, shape, _, data in ROWS:
            t = g.tensors[name]
            assert t.shape == shape and np.array_equal(t.data.view(np.float32), data)
            assert t.address == t.data.__array_interface__["data"][0]
            assert t.name in {info.name for info in g.parts[t.part].header.tensors}
        assert {k: g.metadata[k] for k in META} == META


@pytest.mark.parametrize(("limit", "count"), [(1, 7), (2, 4), (3, 3), (7, 1), (100, 1)])
def test_split_by_tensors(tmp_path: Path, limit: int, count: int) -> None:
    paths = gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=limit)
    assert [os.path.basename(p) for p in paths] == parts(tmp_path)
    assert parts(tmp_path) == [f"m-{i + 1:05d}-of-{count:05d}.gguf" for i in range(count)]
    assert len(os.listdir(tmp_path)) == count
    check(paths[0])
    for i, path in enumerate(paths):
        raw = gguf.Part(path).header.metadata
        assert [raw[k] for k in ("split.no", "split.count", "split.tensors.count")] == [i, count, 7]
        assert [raw.type(k) for k in ("split.no", "split.count", "split.tensors.count")] == [
            "u16",
            "u16",
            "i32",
        ]
        assert ("general.name" in raw) == (i == 0)


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1] * 7), (96, [2, 1, 1, 1, 1, 1]), (224, [3, 1, 1, 1, 1]), (10**9, [7])]
)
def test_split_by_bytes(tmp_path: Path, limit: int, sizes: list[int]) -> None:
    paths = gguf.write(tmp_path / "m.gguf", META, ROWS, max_bytes=limit)
    assert [len(gguf.Part(p).header.tensors) for p in paths] == sizes
    check(paths[0])


def test_split_and_joined_again_is_the_same_file(tmp_path: Path) -> None:
    whole, again = tmp_path / "whole.gguf", tmp_path / "again.gguf"
    gguf.write(whole, META, ROWS)
    (tmp_path / "s").mkdir()
    assert gguf.copy(whole, tmp_path / "s" / "m.gguf", max_tensors=2) == []
    first = tmp_path / "s" / "m-00001-of-00004.gguf"
    check(first)
    assert gguf.copy(first, again) == []
    assert again.read_bytes() == whole.read_bytes()
    (tmp_path / "r").mkdir()  # and split in another way
    gguf.copy(first, tmp_path / "r" / "m", max_bytes=500)
    check(tmp_path / "r" / parts(tmp_path / "r")[0])


def test_unusual_alignment_holds_in_every_part(tmp_path: Path) -> None:
    paths = gguf.write(tmp_path / "m.gguf", {**META, "general.alignment": 512}, ROWS, max_tensors=3)
    check(paths[0])
    assert {gguf.Part(p).header.alignment for p in paths} == {512}
    with gguf.open(paths[0]) as g:
        assert all(t.offset % 512 == 0 for t in g.tensors.values())


def test_no_tensors_at_all(tmp_path: Path) -> None:
    (path,) = gguf.write(tmp_path / "m.gguf", META, [], max_tensors=3)
    with gguf.open(path) as g:
        assert len(g.tensors) == 0 and g.metadata["split.count"] == 1


def test_nothing_is_left_if_a_later_part_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="t5"):
        gguf.write(tmp_path / "m.gguf", META, [*ROWS[:5], ("t5", (8,), "F32", b"short"), ROWS[6]], max_tensors=2)
    assert os.listdir(tmp_path) == []


def test_the_first_part_appears_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a split model is no model, so nobody can open half of a new one."""
    real, order = os.replace, []

    def replace(source: str, target: str) -> None:
        order.append(os.path.basename(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=3)
    assert order[-1] == "m-00001-of-00003.gguf" and len(order) == 3


def test_existing_parts_and_sources_are_refused(tmp_path: Path) -> None:
    paths = gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=4)
    with pytest.raises(UsageError, match="exists already"):
        gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=4)
    for path in paths:
        with pytest.raises(UsageError, match="is the file that is read"):
            gguf.copy(paths[0], path, overwrite=True)
    check(paths[0])


def test_too_many_parts(tmp_path: Path) -> None:
    rows = [(f"t{i}", (1,), "F32", bytes(4)) for i in range(1100)]
    with pytest.raises(UsageError, match="1100 parts"):
        gguf.write(tmp_path / "m.gguf", {}, rows, max_tensors=1)


def test_all_files_are_closed_when_a_part_is_refused(tmp_path: Path) -> None:
    paths = gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=2)
    os.truncate(paths[-1], 100)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(GGUFError, match="m-00004-of-00004"):
        gguf.open(paths[0])
    assert len(os.listdir("/proc/self/fd")) == before


def test_warnings_and_changes_of_every_part_are_seen(tmp_path: Path) -> None:
    paths = gguf.write(tmp_path / "m.gguf", META, ROWS, max_tensors=4)
    with open(paths[1], "ab") as f:
        f.write(b"x" * 40)
    with gguf.open(paths[0]) as g:
        assert len(g.warnings) == 1 and "m-00002-of-00002.gguf: 40 bytes" in g.warnings[0]
        assert not g.changed() and len(g.fingerprint) == 2
        os.truncate(paths[1], 50)
        assert g.changed()


def test_parts_lie_beside_the_first_under_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = gguf.write(tmp_path / "a-00001-of-00002.gguf.gguf", META, ROWS, max_tensors=4)
    monkeypatch.chdir(tmp_path)
    check(os.path.basename(paths[0]))
    check("./" + os.path.basename(paths[0]))


def test_split_model_says_what_it_writes(tmp_path: Path) -> None:
    gguf.write(tmp_path / "m.gguf", {"k": 1}, [(f"t{i}", (8,), "F32", bytes([i] * 32)) for i in range(5)])
    names = tuple(str(tmp_path / f"s-0000{i}-of-00003.gguf") for i in (1, 2, 3))
    assert gguf.split_model(tmp_path / "m.gguf", tmp_path / "s", max_bytes=64, dry_run=True) == names
    assert os.listdir(tmp_path) == ["m.gguf"]
    assert gguf.split_model(tmp_path / "m.gguf", tmp_path / "s", max_bytes=64) == names
    with pytest.raises(UsageError, match="exists already"):
        gguf.split_model(tmp_path / "m.gguf", tmp_path / "s", max_bytes=64)
    with pytest.raises(UsageError, match="max_tensors or max_bytes"):
        gguf.split_model(tmp_path / "m.gguf", tmp_path / "s")
    again = gguf.split_model(names[0], tmp_path / "again", max_tensors=4)  # split anew
    assert len(again) == 2
    assert gguf.merge_model(names[0], tmp_path / "j.gguf") == 3
    assert gguf.merge_model(again[0], tmp_path / "j.gguf", overwrite=True) == 2
    assert (tmp_path / "j.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


def test_merging_what_is_not_split_and_over_a_part(tmp_path: Path) -> None:
    paths = gguf.write(tmp_path / "m.gguf", {"k": 1}, [("a", (1,), "F32", bytes(4)), ("b", (1,), "F32", bytes(4))],
                       max_tensors=1)  # fmt: skip
    gguf.merge_model(paths[0], tmp_path / "j.gguf")
    before = [(tmp_path / name).read_bytes() for name in sorted(os.listdir(tmp_path))]
    with pytest.raises(UsageError, match="not split"):
        gguf.merge_model(tmp_path / "j.gguf", tmp_path / "k.gguf")
    for target in paths:
        with pytest.raises(UsageError, match="is the file that is read"):
            gguf.merge_model(paths[0], target, overwrite=True)
    assert [(tmp_path / name).read_bytes() for name in sorted(os.listdir(tmp_path))] == before


def test_a_source_that_changes_meanwhile_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "m.gguf", gguf.Tensor.pieces
    gguf.write(path, {"k": 1}, [("a", (1,), "F32", bytes(4))])

    def pieces(tensor: gguf.Tensor) -> Iterator[bytes]:
        yield from real(tensor)
        os.utime(path, (1, 1))

    monkeypatch.setattr(gguf.Tensor, "pieces", pieces)
    with pytest.raises(GGUFError, match="changed while it was read"):
        gguf.copy(path, tmp_path / "n.gguf")
    assert os.listdir(tmp_path) == ["m.gguf"]
