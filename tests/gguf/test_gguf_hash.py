"""Hashes: what they are of, what they do not depend on, and manifests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import gguf
from edgeq.errors import FormatError, GGUFError, UsageError
from edgeq.gguf import Hashes, hashing

RNG = np.random.default_rng(3)
ROWS = [
    ("b", (3, 4), "F32", RNG.random(12, np.float32)),
    ("a ü\n", (2, 32), "Q8_0", RNG.integers(0, 255, 68, np.uint8)),
    ("*", (), "F32", RNG.random(1, np.float32)),
    ('"q', (1, 256), "Q4_K", RNG.integers(0, 255, 144, np.uint8)),
]


def written(path: Path, rows: Any = ROWS, meta: Any = None, **options: Any) -> str:
    return gguf.write(path, meta or {"k": 1}, rows, **options)[0]


@pytest.mark.parametrize("algorithm", hashing.ALGORITHMS)
def test_what_is_hashed(tmp_path: Path, algorithm: str) -> None:
    """The recipe of the docstring, followed by other code."""
    found = gguf.hash_tensors(written(tmp_path / "m.gguf"), algorithm)
    expected = {n: hashlib.new(algorithm, d.tobytes()).hexdigest() for n, _, _, d in ROWS}
    assert found.tensors == expected and list(found.tensors) == [n for n, *_ in ROWS]
    rows = sorted(ROWS, key=lambda r: r[0].encode())
    lines = [json.dumps([n, f, list(s), expected[n]]) + "\n" for n, s, f, _ in rows]
    assert found.all == hashlib.new(algorithm, "".join(lines).encode("ascii")).hexdigest()


def test_what_makes_no_difference(tmp_path: Path) -> None:
    expected = gguf.hash_tensors(written(tmp_path / "m.gguf"))
    for name, rows, meta, options in (
        ("order", ROWS[::-1], None, {}),
        ("meta", ROWS, {"x": "y"}, {}),
        ("align", ROWS, {"general.alignment": 4096}, {}),
        ("split", ROWS, None, {"max_tensors": 1}),
        ("v2", ROWS, None, {"version": 2, "pad_end": False}),
    ):
        found = gguf.hash_tensors(written(tmp_path / f"{name}.gguf", rows, meta, **options))
        assert (found.tensors, found.all) == (expected.tensors, expected.all)
        assert hashing.mismatches(expected, found) == []


@pytest.mark.parametrize("change", ["byte", "name", "shape", "format", "missing"])
def test_what_makes_a_difference(tmp_path: Path, change: str) -> None:
    expected = gguf.hash_tensors(written(tmp_path / "m.gguf"))
    name, shape, fmt, data = ROWS[0]
    other = data.copy()
    other[5] += 1
    rows: list[Any] = {
        "byte": [(name, shape, fmt, other)],
        "name": [("bb", shape, fmt, data)],
        "shape": [(name, (4, 3), fmt, data)],
        "format": [(name, shape, "I32", data)],
        "missing": [],
    }[change]
    found = gguf.hash_tensors(written(tmp_path / "n.gguf", [*rows, *ROWS[1:]]))
    assert found.all != expected.all
    wrong = hashing.mismatches(expected, found)
    assert wrong[-1] == (None, expected.all, found.all, None)
    named = {"byte": ["b"], "name": ["b", "bb"], "missing": ["b"]}.get(change, [])
    assert [m.name for m in wrong[:-1]] == named


def test_a_large_tensor_is_read_in_pieces(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (9 << 20) + 4, np.uint8)
    seen: list[tuple[int, int]] = []
    path = written(tmp_path / "m.gguf", [("big", (data.size,), "I8", data), *ROWS])
    found = gguf.hash_tensors(path, progress=lambda done, total: seen.append((done, total)))
    assert found.tensors["big"] == hashlib.sha256(data).hexdigest()
    total = data.size + sum(d.nbytes for *_, d in ROWS)
    assert seen[0] == (8 << 20, total) and seen[-1] == (total, total) and len(seen) == 6


def test_manifests_come_back(tmp_path: Path) -> None:
    found = gguf.hash_tensors(written(tmp_path / "m.gguf"))
    text = hashing.to_text(found)
    assert hashing.from_manifest(text, "m") == found
    assert [line.split(" ", 2)[2] for line in text.splitlines()] == ["b", r'"a \u00fc\n"', '"*"', r'"\"q"', "*"]
    assert hashing.from_manifest(text.replace("\n", "\r\n"), "m") == found
    assert hashing.from_manifest(json.dumps(hashing.to_json(found)), "m") == found
    assert hashing.from_manifest(text.splitlines()[-1], "m") == Hashes("sha256", {}, found.all)
    assert hashing.from_manifest(text.upper().replace("SHA256", "sha256").splitlines()[-1], "m").all == found.all


def test_files_are_hashed_byte_by_byte(tmp_path: Path) -> None:
    rows = [*ROWS, ("*x", (9 << 20,), "I8", RNG.integers(0, 255, 9 << 20, np.uint8))]
    paths = gguf.write(tmp_path / "m ü", {"k": 1}, rows, max_tensors=2)
    found = gguf.hash_tensors(paths[0], files=True)
    assert found.files == {Path(p).name: hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths}
    assert list(found.files) == [Path(p).name for p in paths] and len(paths) == 3
    assert hashing.from_manifest(hashing.to_text(found), "m") == found
    assert hashing.from_manifest(json.dumps(hashing.to_json(found)), "m") == found
    text = hashing.to_text(found).splitlines()
    assert text[-1].split(" ", 2)[2].startswith('*"m \\u00fc-00003')
    with pytest.raises(FormatError, match=r"file m .*appears twice"):
        hashing.from_manifest("\n".join([*text, text[-1]]), "m")
    whole = gguf.hash_tensors(gguf.merge_model(paths[0], tmp_path / "one") and tmp_path / "one", files=True)
    assert [(m.name, m.file) for m in hashing.mismatches(found, whole)] == [(None, Path(p).name) for p in paths]
    seen: list[tuple[int, int]] = []
    gguf.hash_tensors(paths[0], files=True, progress=lambda *at: seen.append(at))
    total = sum(Path(p).stat().st_size for p in paths) + sum(d.nbytes for *_, d in rows)
    assert seen[-1] == (total, total)


DIGEST = "0" * 40


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no hash"),
        ("\n\n", "holds no hash"),
        ("sha1", "line 1: expected an algorithm"),
        (f"sha1 {DIGEST}", "line 1: expected an algorithm"),
        (f"md5 {DIGEST} a", "expected one of sha256"),
        (f"sha1 {DIGEST} a\n\nblake2b {DIGEST} b", "line 3: expected sha1"),
        (f"sha1 {DIGEST}0 a", "40 hexadecimal"),
        (f"sha1 {'g' * 40} a", "40 hexadecimal"),
        (f"sha256 {DIGEST} a", "64 hexadecimal"),
        (f"sha1 {DIGEST} a\nsha1 {DIGEST} a", "appears twice"),
        (f'sha1 {DIGEST} "a', "JSON string"),
        (f"sha1 {DIGEST} \"{'[' * 100000}", "JSON string"),
        ("{", "is not JSON"),
        ('{"a": ' * 100000, "is not JSON"),
        ("{}", "no object of tensors"),
        ('{"tensors": []}', "no object of tensors"),
        ('{"tensors": {}}', "expected one of"),
        ('{"algorithm": "sha1", "tensors": {}, "files": [1]}', "files: expected an object"),
        ('{"algorithm": "sha1", "tensors": {}, "files": {"a": 1}}', "file a: expected 40"),
        ('{"algorithm": ["sha1"], "tensors": {}}', "expected one of"),
        ('{"algorithm": "sha1", "tensors": {"\x1b": 1}}', "is not JSON"),
        ('{"algorithm": "sha1", "tensors": {"\\u001b": 1}}', r"tensor \\x1b: expected 40"),
        ('{"algorithm": "sha1", "tensors": {}, "all": "x"}', "all: expected 40"),
        ("<html>\x1b[2J", r"\\x1b"),
    ],
)
def test_manifests_that_are_none(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        hashing.from_manifest(text, "m")
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


def test_arguments_and_files_that_change(tmp_path: Path) -> None:
    path = Path(written(tmp_path / "m.gguf"))
    with pytest.raises(UsageError, match=r"md5.*expected sha256"):
        gguf.hash_tensors(path, "md5")

    def meddle(done: int, total: int) -> None:
        data = path.read_bytes()
        path.write_bytes(data)

    with pytest.raises(GGUFError, match="changed while it was read"):
        gguf.hash_tensors(path, progress=meddle)
    with pytest.raises(GGUFError, match=r"became shorter|changed"):
        gguf.hash_tensors(path, progress=lambda *_: path.write_bytes(b""))
