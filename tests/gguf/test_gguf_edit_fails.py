"""Edits that are stopped: the file is the old one or the new one, whole, and nothing stays behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeq import gguf
from edgeq.errors import EdgeqError, GGUFError, UsageError
from edgeq.gguf import partfile

ROOT = Path(__file__).parents[2]
LONG = "longer text" * 10
ROWS = [("a", (8,), "F32", bytes(32)), ("b", (2, 32), "Q8_0", bytes(68))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gguf.write(tmp_path / "m.gguf", {"k": 1, "s": "text"}, ROWS)
    return tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("values", "call"),
    [
        *(({"k": 2}, call) for call in ("write", "fsync", "lseek")),
        *(({"s": LONG, "k": 3}, call) for call in ("write", "fsync", "replace", "ftruncate", "posix_fallocate")),
    ],
)
def test_every_system_call_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, values: dict[str, Any]
) -> None:
    """Fails the n-th call, for n = 1, 2, … until none fails; the file is old or new each time."""
    real, before = getattr(os, call), path.read_bytes()
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
                gguf.edit(path, set=values)
                break
            except GGUFError as e:
                text = str(e)
        assert "No space left" in text and "m.gguf" in text
        if call != "fsync":  # after a write in place the bytes are there, only maybe not yet on the disk
            assert path.read_bytes() == before
        gguf.open(path).close()
        assert os.listdir(path.parent) == ["m.gguf"]
    assert n > 1
    with gguf.open(path) as g:
        assert g.metadata["k"] == values["k"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EINVAL, None])
def test_where_the_kernel_does_not_copy_we_do(path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """An error before, in the middle, or zero bytes done: the rest is read and written."""
    real, calls = os.copy_file_range, [0]

    def partly(src: int, dst: int, count: int, offset: int) -> int:
        calls[0] += 1
        if calls[0] == 1:
            return real(src, dst, min(count, 20), offset)
        if code is None:
            return 0
        raise OSError(code, "no")

    monkeypatch.setattr(os, "copy_file_range", partly)
    with gguf.open(path) as g:
        before = {n: t.raw.tobytes() for n, t in g.tensors.items()}
    gguf.edit(path, set={"s": LONG})
    assert calls[0] == 2
    with gguf.open(path) as g:
        assert {n: t.raw.tobytes() for n, t in g.tensors.items()} == before and g.metadata["s"] == LONG


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared blocks are asked for on Linux")
def test_blocks_are_shared_where_the_filesystem_can(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for such a filesystem: the ioctl copies. Only a header of the old size can go that way."""
    import fcntl

    calls = []

    def clone(target: int, request: int, source: int) -> int:
        assert request == partfile._FICLONE
        calls.append(os.pwrite(target, os.pread(source, 1 << 20, 0), 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    gguf.write(path, {"pad": "x" * 2000, "k": 1, "z": "y" * 2000, "s": "text"}, ROWS, overwrite=True)
    with gguf.open(path) as g:
        before, room = g.tensors["b"].raw.tobytes(), -g.parts[0].header.table_end % 32
    size = path.stat().st_size
    assert gguf.edit(path, set={"pad": "n" * 2000, "s": "t" * (4 + room)}).how == "rewrite"
    assert len(calls) == 1 and path.stat().st_size == size
    with gguf.open(path) as g:
        assert g.metadata["pad"] == "n" * 2000 and g.tensors["b"].raw.tobytes() == before
    gguf.edit(path, set={"s": "t" * 100})
    assert len(calls) == 1 and gguf.verify(path) == []


def test_an_output_that_appears_meanwhile_is_not_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = path.parent / "out.gguf", gguf.GGUFFile.close

    def meanwhile(g: gguf.GGUFFile) -> None:
        real(g)
        out.write_bytes(b"mine")

    monkeypatch.setattr(gguf.GGUFFile, "close", meanwhile)
    with pytest.raises(UsageError, match="exists already"):
        gguf.edit(path, set={"k": 2}, output=out)
    assert out.read_bytes() == b"mine" and sorted(os.listdir(path.parent)) == ["m.gguf", "out.gguf"]


@pytest.mark.parametrize("values", [{"k": 2}, {"s": LONG}], ids=["in place", "rewrite"])
@pytest.mark.parametrize("how", ["written", "replaced", "gone"])
def test_a_file_that_someone_else_changes_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], how: str
) -> None:
    other = path.parent / "other.gguf"
    gguf.write(other, {"k": 7}, ROWS)
    theirs = other.read_bytes()
    real = gguf.GGUFFile.close

    def meanwhile(g: gguf.GGUFFile) -> None:
        monkeypatch.setattr(gguf.GGUFFile, "close", real)
        real(g)
        if how == "written":
            path.write_bytes(theirs)
        elif how == "replaced":
            os.replace(other, path)
        else:
            path.unlink()

    monkeypatch.setattr(gguf.GGUFFile, "close", meanwhile)
    with pytest.raises(GGUFError, match=r"meanwhile|cannot be written: No such file"):
        gguf.edit(path, set=values)
    assert (path.read_bytes() == theirs) if how != "gone" else not path.exists()
    assert set(os.listdir(path.parent)) <= {"m.gguf", "other.gguf"}


def test_a_limit_on_file_size_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    gguf.write(path, {"k": 1}, [("a", (1 << 18,), "F32", bytes(1 << 20))])
    before = path.read_bytes()
    code = f"""
import resource
from edgeq import errors, gguf
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))
try:
    gguf.edit({str(path)!r}, set={{"new": "x" * 100}})
except errors.GGUFError as e:
    assert "File too large" in str(e), e
else:
    raise SystemExit("written")
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert os.listdir(tmp_path) == ["m.gguf"] and path.read_bytes() == before


def test_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """A child edits over and over, in place and anew, and is killed after a while, twenty times. Each edit sets a
    number and texts that must agree with it: one that was made in halves would show."""
    path = tmp_path / "m.gguf"
    weights = bytes(range(256)) * 8192
    gguf.write(path, {"n": 0, "s": "0000 ", "pad": "x" * 700, "t": "0000"}, [("a", (1 << 19,), "F32", weights)])
    code = f"""
from edgeq import gguf
with gguf.open({str(path)!r}) as g:
    i = g.metadata["n"]
print("ready", flush=True)
while True:
    i = (i + 1) % 10000
    number = f"{{i:04d}}"
    # n and s lie in one sector; t, behind the padding, in another
    gguf.edit({str(path)!r}, set={{"n": i, "s": number + " " * (1 + i // 3 % 2 * 40), "t": number}})
    gguf.edit({str(path)!r}, set={{"n": i, "s": number + "." * (1 + i // 3 % 2 * 40)}})
"""
    seen = set()
    for round_ in range(20):
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.004 * round_)
            os.kill(child.pid, signal.SIGKILL)
        with gguf.open(path) as g:
            n, s, t = (g.metadata[k] for k in ("n", "s", "t"))
            assert s[:4] == t == f"{n:04d}" and g.warnings == []
            assert len(s) in (5, 45) and len(set(s[4:])) == 1
            assert g.tensors["a"].raw == weights
            seen.add(n)
    assert len(seen) > 5
    leftovers = [name for name in os.listdir(tmp_path) if name != "m.gguf"]
    assert all(name.startswith(".m.gguf.part-") for name in leftovers)


def test_interrupts_leave_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(partfile.PartFile, "copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        gguf.edit(path, set={"s": LONG})
    assert path.read_bytes() == before and os.listdir(path.parent) == ["m.gguf"]


def test_files_that_cannot_be_read_are_refused_as_the_reader_does(tmp_path: Path) -> None:
    from hostile import CASES

    refused = {name: case for name, case in CASES.items() if case.outcome == "refuse"}
    assert len(refused) > 50
    for name, case in refused.items():
        folder = tmp_path / name
        folder.mkdir()
        target = case.make(folder)
        before = sorted(os.listdir(folder))
        with pytest.raises(EdgeqError):
            gguf.edit(target, set={"new": 1})
        assert sorted(os.listdir(folder)) == before
