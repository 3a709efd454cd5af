"""What the writer refuses, and what it leaves behind when it is stopped: nothing, or a whole file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError
from edgeq.gguf import Value
from edgeq.gguf.partfile import PartFile

ROOT = Path(__file__).parents[2]
ROWS = [("a", (8,), "F32"), ("b", (2, 32), "Q8_0")]


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, [[1]], [1, "a"], [True, 1], object(), 2**64, -(2**63) - 1, 1e39, "\ud800",
        Value("u8", 256), Value("u8", -1),
        Value("u8", True), Value("u8", 0.5), Value("f32", "x"), Value("string", 1),
        Value("array[u8]", 3), Value("array[u8]", [256]),
        Value("array[u8]", b"abc"), Value("array[array]", []), Value("array[x]", []),
        Value("nothing", 1), Value("u32", b"\0"),
        Value("bool", 2), Value("array[bool]", [2]), Value("array[string]", [1]),
        Value("array[string]", "ab"), np.zeros((2, 2)),
    ],
)  # fmt: skip
def test_values_that_cannot_be_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match="key k"):
        gguf.write(tmp_path / "m.gguf", {"k": value})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("meta", "rows", "options", "words"),
    [
        ({}, [("a", (1,), "F32", b"1234"), ("a", (1,), "F32", b"1234")], {}, "given twice"),
        ({}, [("", (1,), "F32", b"1234")], {}, "0 bytes"),
        ({}, [("a" * 65, (1,), "F32", b"1234")], {}, "65 bytes"),
        ({}, [("a\0", (1,), "F32", b"1234")], {}, "NUL"),
        ({"a\0": 1}, [], {}, "NUL"),
        ({"": 1}, [], {}, "0 bytes"),
        ({"k" * 65536: 1}, [], {}, "65536 bytes"),
        ({}, [("a", (1, 1, 1, 1, 1), "F32", b"1234")], {}, "4 dimensions"),
        ({}, [("a", (0,), "F32", b"")], {}, "each over 0"),
        ({}, [("a", (1.5,), "F32", b"")], {}, "integers"),
        ({}, [("a", (33,), "Q4_0", b"")], {}, "multiple of 32"),
        ({}, [("a", (1,), "Q9_9", b"")], {}, "unknown format"),
        ({}, [("a", (1 << 62, 8), "F32", b"")], {}, "bytes"),
        ({}, [("a", (1,), "F32", b"123")], {}, "got 3 bytes"),
        ({}, [("a", (1,), "F32", b"12345")], {}, "over 4 bytes"),
        ({}, [("a", (1,), "F32", [b"12", b"345"])], {}, "over 4 bytes"),
        ({}, [("a", (1,), "F32", 7)], {}, "found int"),
        ({}, [("a", (1,), "F32", [1, 2])], {}, "found int"),
        ({}, [("a", (1,), "F32", "text")], {}, "found str"),
        ({}, [("a", (2, 2), "F32", np.zeros((2, 4), np.float32)[:, ::2])], {}, "found ndarray"),
        ({"general.alignment": 24}, [], {}, "power of two"),
        ({"general.alignment": Value("u64", 32)}, [], {}, "power of two"),
        ({}, [], {"version": 1}, "version"),
        ({}, [], {"max_tensors": 0}, "max_tensors"),
        ({}, [], {"max_bytes": 0}, "max_bytes"),
    ],
)
def test_arguments_that_make_no_file(tmp_path: Path, meta: Any, rows: Any, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gguf.write(tmp_path / "m.gguf", meta, rows, **options)
    assert os.listdir(tmp_path) == []


def test_split_keys_that_would_make_the_file_unreadable(tmp_path: Path) -> None:
    for meta in ({"split.count": Value("u16", 7)}, {"split.count": 7}, {"split.no": Value("u16", 0)}):
        with pytest.raises((GGUFError, UsageError), match="split"):
            gguf.write(tmp_path / "m.gguf", meta)
    assert os.listdir(tmp_path) == []


def test_an_exception_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    gguf.write(path, {"old": 1})
    before = path.read_bytes()

    def chunks() -> Iterator[bytes]:
        yield bytes(8)
        assert len(os.listdir(tmp_path)) == 2 and path.read_bytes() == before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), gguf.Writer(path, {}, ROWS, overwrite=True) as w:
        w.write("a", chunks())
    assert os.listdir(tmp_path) == ["m.gguf"] and path.read_bytes() == before


def test_targets_that_are_refused(tmp_path: Path) -> None:
    path, link, hard = tmp_path / "m.gguf", tmp_path / "link.gguf", tmp_path / "hard.gguf"
    gguf.write(path, {"k": 1}, [("a", (1,), "F32", bytes(4))])
    link.symlink_to(path)
    os.link(path, hard)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        gguf.write(path, {})
    for target in (path, link, hard):
        with pytest.raises(UsageError, match="is the file that is read"):
            gguf.copy(path, target, overwrite=True)
    with pytest.raises(UsageError, match="no regular file"):
        gguf.write(tmp_path, {}, overwrite=True)
    with pytest.raises(UsageError, match="no regular file"):
        gguf.write("/dev/null", {}, overwrite=True)
    with pytest.raises(GGUFError, match="No such file"):
        gguf.write(tmp_path / "nowhere" / "m.gguf", {})
    assert path.read_bytes() == before and len(os.listdir(tmp_path)) == 3


def test_overwriting_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    gguf.write(tmp_path / "real.gguf", {"k": 1})
    (tmp_path / "link.gguf").symlink_to("real.gguf")
    gguf.write(tmp_path / "link.gguf", {"k": 2}, overwrite=True)
    assert (tmp_path / "link.gguf").is_symlink()
    with gguf.open(tmp_path / "real.gguf") as g:
        assert g.metadata["k"] == 2


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(UsageError, match="exists already"), gguf.Writer(path, {}) as _:
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine" and os.listdir(tmp_path) == ["m.gguf"]


def test_leftovers_of_a_killed_writer_are_not_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / f".m.gguf.part-{os.getpid()}"
    folder.mkdir()
    gguf.write(tmp_path / "m.gguf", {"k": 1})
    assert folder.exists()
    gguf.write(tmp_path / ("n" * 250 + ".gguf"), {"k": 1})  # the longest name there can be


@pytest.mark.skipif(os.name != "posix", reason="no locks there")
def test_leftovers_of_killed_writers_of_the_same_file_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    stale = {f".m.gguf.part-{n}" for n in (os.getpid(), f"{os.getpid()}-1", f"{gone.pid}", f"{gone.pid}-7", 10**19)}
    kept = {f".m.gguf.part-{os.getppid()}", ".m.gguf.part", ".m.gguf.part-x", f".m.gguf.part-{gone.pid}.gguf",
            f"m.gguf.part-{gone.pid}", f".mm.gguf.part-{gone.pid}", f".m.gguf.part-{gone.pid}-", "m.gguf"}  # fmt: skip
    for name in stale | kept:
        (tmp_path / name).write_bytes(b"x")
    gguf.write(tmp_path / "m.gguf", {"k": 1}, overwrite=True)
    assert set(os.listdir(tmp_path)) == kept


@pytest.mark.skipif(os.name != "posix", reason="no locks there")
def test_what_someone_still_writes_is_no_leftover(tmp_path: Path) -> None:
    """Locks alone tell, as for a process in another container."""
    first = PartFile(str(tmp_path / "m.gguf"), 0)
    second = PartFile(str(tmp_path / "m.gguf"), 0)
    assert len({first.path, second.path}) == len(os.listdir(tmp_path)) == 2
    for part, data in ((first, b"one"), (second, b"two")):
        part.write(data)
        part.finish()
        part.commit()
        assert (tmp_path / "m.gguf").read_bytes() == data
    assert os.listdir(tmp_path) == ["m.gguf"]


@pytest.mark.skipif(os.name != "posix", reason="no locks there")
def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: Any) -> None:
    import fcntl

    real, calls = fcntl.flock, []

    def taken(fd: int, how: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            os.unlink(next(tmp_path.glob(".m.gguf.part-*")))
        if len(calls) == 2:
            raise BlockingIOError
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", taken)
    gguf.write(tmp_path / "m.gguf", {"k": 1})
    assert len(calls) >= 3 and (tmp_path / "m.gguf").exists()


@pytest.mark.skipif(os.name != "posix", reason="no locks there")
def test_a_filesystem_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refused(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    stale = tmp_path / f".m.gguf.part-{10**19}"
    stale.write_bytes(b"x")
    gguf.write(tmp_path / "m.gguf", {"k": 1})
    assert set(os.listdir(tmp_path)) == {"m.gguf", stale.name}


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "ftruncate", "posix_fallocate"])
def test_every_system_call_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Fails the n-th call, for n = 1, 2, … until none fails; the target is whole or absent each time."""
    path = tmp_path / "m.gguf"
    real = getattr(os, call)
    for n in range(1, 50):
        left = [n]

        def failing(*args: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        with monkeypatch.context() as m:
            m.setattr(os, call, failing)
            try:
                gguf.write(path, {"k": 1}, [(*row, bytes(size)) for row, size in zip(ROWS, (32, 68), strict=True)])
                break
            except GGUFError as e:
                text = str(e)
        assert "No space left" in text and "m.gguf" in text
        assert os.listdir(tmp_path) == []
    assert n > 1
    with gguf.open(path) as g:
        assert len(g.tensors) == 2


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: Any, flags: int, *rest: Any) -> int:
        if os.path.isdir(path):
            raise OSError(errno.EACCES, "Permission denied")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    gguf.write(tmp_path / "m.gguf", {"k": 1})
    assert (tmp_path / "m.gguf").exists()


def test_a_limit_on_file_size_is_reported(tmp_path: Path) -> None:
    code = f"""
import resource
from edgeq import errors, gguf
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))
try:
    gguf.write({str(tmp_path / "m.gguf")!r}, {{}}, [("a", (1 << 20,), "F32", bytes(4 << 20))])
except errors.GGUFError as e:
    assert "File too large" in str(e), e
else:
    raise SystemExit("written")
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert os.listdir(tmp_path) == []


def test_kill_at_any_moment_leaves_the_target_absent_or_whole(tmp_path: Path) -> None:
    """A child writes the file over and over and is killed after a while, twelve times."""
    path = tmp_path / "m.gguf"
    code = f"""
from edgeq import gguf
print("ready", flush=True)
for i in range(100000):
    gguf.write({str(path)!r}, {{"k": i}}, [("a", (4096,), "F32", bytes([i % 256]) * 16384)], overwrite=True)
"""
    for round_ in range(12):
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.003 * round_)
            os.kill(child.pid, signal.SIGKILL)
        if path.exists():
            with gguf.open(path) as g:
                weights = g.tensors["a"].data
                assert (weights == g.metadata["k"] % 256).all() and g.warnings == []
