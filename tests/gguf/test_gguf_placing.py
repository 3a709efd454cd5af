"""The parts of a split model get their names all together, whatever comes between."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeq import gguf
from edgeq.errors import GGUFError, UsageError
from edgeq.gguf import placing
from edgeq.gguf.partfile import beside

ROOT = Path(__file__).parents[2]
N = 4  # parts
NAMES = [f"m-{i:05d}-of-{N:05d}.gguf" for i in range(1, N + 1)]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and locks")

CODE = f"""
import os, signal, sys
from edgeq import gguf
def write(folder, k, overwrite=True):
    rows = [(f"t{{i}}", (8,), "F32", bytes([k]) * 32) for i in range({N})]
    return gguf.write(os.path.join(folder, "m"), {{"k": k}}, rows, max_tensors=1, overwrite=overwrite)
"""
exec(CODE)  # for the children too
write: Any = globals()["write"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(folder: Path) -> int | None:
    """Which model is there: all parts must say the same. None if none can be opened."""
    if gguf.verify(folder / NAMES[0]):
        return None
    with gguf.open(folder / NAMES[0]) as g:
        (found,) = {g.metadata["k"], *(int(n) for t in g.tensors.values() for n in set(t.raw))}
    return int(found)


def stopping(call: str, at: set[int], error: BaseException, after: bool = False) -> Any:
    """os.`call` that raises `error` at calls number `at`, having done its work `after` all or not."""
    real, calls = getattr(os, call), [0]

    def stopped(*args: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] not in at:
            return real(*args, **more)
        if after:
            with contextlib.suppress(OSError):
                real(*args, **more)
        raise error

    return stopped


@pytest.mark.parametrize("old", [set(NAMES), set(), {NAMES[0]}, set(NAMES[1:]), {NAMES[1]}])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [PermissionError(errno.EPERM, "not today"), KeyboardInterrupt(), SystemExit(143)])
def test_a_rename_that_fails_leaves_all_parts_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, after: bool, old: set[str]
) -> None:
    write(tmp_path, 1)
    for name in set(NAMES) - old:
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    for n in range(1, 50):
        with monkeypatch.context() as m:
            # The next call fails too where it is Ctrl-C: someone may press it twice.
            again = set() if isinstance(error, OSError) else {n + 1}
            m.setattr(os, "replace", stopping("replace", {n, *again}, error, after))
            try:
                write(tmp_path, 2)
                break  # where the last rename worked in fact, too
            except GGUFError as e:
                text = str(e)
            except (KeyboardInterrupt, SystemExit):
                if whole(tmp_path) == 2:  # all was done when it came
                    assert after
                    break
        assert contents(tmp_path) == before
        assert not isinstance(error, OSError) or ("not today; nothing was replaced" in text and "m-0000" in text)
    assert n == len(old) + N + (not after) and whole(tmp_path) == 2 and set(os.listdir(tmp_path)) == set(NAMES)


@pytest.mark.parametrize("works", [0, 1, 2])
def test_parts_that_cannot_be_put_back_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: int) -> None:
    """After a rename that fails some work to undo it, then none."""
    write(tmp_path, 1)
    before = contents(tmp_path)
    for n in range(2 + works, 2 * N + 1):
        with monkeypatch.context() as m:
            fail = {n, *range(n + 1 + works, 99)}
            m.setattr(os, "replace", stopping("replace", fail, PermissionError(errno.EPERM, "not today")))
            with pytest.raises(GGUFError, match=r"not today; and what was there before cannot be put back: not") as e:
                write(tmp_path, 2)
        assert "the files that were there are " in str(e.value) and f".{NAMES[0]}.replaced" in str(e.value)
        assert (tmp_path / f".{NAMES[0]}.replaced").read_bytes() == before[NAMES[0]]
        with pytest.raises(GGUFError, match=r"No such file.*a run was killed.*-00001-of-00004.gguf.replaced"):
            gguf.open(tmp_path / NAMES[0])
        with pytest.raises(ZeroDivisionError):
            fail_early(tmp_path)
        assert contents(tmp_path) == before


def test_what_is_left_by_a_run_that_is_killed_meanwhile_is_put_back(tmp_path: Path) -> None:
    write(tmp_path, 1)
    rows = [gguf.tensor_info(f"t{i}", (8,), "F32") for i in range(N)]
    with gguf.Writer(tmp_path / "m", {"k": 3}, rows, max_tensors=1, overwrite=True) as w:
        for row in rows:
            w.write(row.name, bytes([3]) * 32)
        os.rename(tmp_path / NAMES[0], tmp_path / f".{NAMES[0]}.replaced")
    assert whole(tmp_path) == 3 and set(os.listdir(tmp_path)) == set(NAMES)


@posix
@pytest.mark.parametrize("old", [set(NAMES), set(), {NAMES[0], NAMES[3]}, set(NAMES[:3]), set(NAMES[1:])])
@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_run_killed_between_renames_leaves_no_mixture(tmp_path: Path, call: str, old: set[str]) -> None:
    write(tmp_path, 1)
    for name in set(NAMES) - old:
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    for n in range(1, 2 * N + 2):
        code = f"""{CODE}
real, calls = os.{call}, []
def killed(*args):
    calls.append(args)
    if len(calls) == {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
os.{call} = killed
write({str(tmp_path)!r}, 2)
"""
        if subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0:
            break
        if whole(tmp_path) == 2:  # only the old parts' hidden names were to be removed
            assert call == "unlink" and all((tmp_path / name).exists() for name in NAMES)
        else:
            assert whole(tmp_path) == (1 if old == set(NAMES) and n == 1 else None)
            if any(name.endswith(".replaced") for name in os.listdir(tmp_path)):
                (finding,) = gguf.verify(tmp_path / NAMES[0])
                assert "a run was killed while it gave the parts of this model their names" in finding.text
                left = contents(tmp_path)
                with pytest.raises(UsageError, match=r"a run was killed .*\.replaced; ask for .* to be overwritten"):
                    write(tmp_path, 3, overwrite=False)
                assert contents(tmp_path) == left
            with pytest.raises(ZeroDivisionError):  # a run that fails early, so that what was there can be seen
                fail_early(tmp_path)
            assert {k: v for k, v in contents(tmp_path).items() if ".part-" not in k} == before
        write(tmp_path, 3)
        assert whole(tmp_path) == 3 and set(os.listdir(tmp_path)) == set(NAMES)
        for name in NAMES:
            (tmp_path / name).unlink()
        for name, data in before.items():
            (tmp_path / name).write_bytes(data)
    assert n > N and whole(tmp_path) == 2 and set(os.listdir(tmp_path)) == set(NAMES)


def fail_early(folder: Path) -> None:
    rows = [gguf.tensor_info(f"t{i}", (8,), "F32") for i in range(N)]
    with gguf.Writer(folder / "m", {"k": 3}, rows, max_tensors=1, overwrite=True):
        raise ZeroDivisionError


def test_one_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "m.gguf", []
    gguf.write(path, {"k": 1})
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(b), real(a, b)))
    gguf.write(path, {"k": 2}, overwrite=True)
    assert calls == [str(path.resolve())] and os.listdir(tmp_path) == ["m.gguf"]


def test_parts_behind_links_are_replaced_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    write(tmp_path / "store", 1)
    for name in NAMES:
        (tmp_path / "links" / name).symlink_to(f"../store/{name}")
    for n in range(1, 50):
        with monkeypatch.context() as m:
            m.setattr(os, "replace", stopping("replace", set(range(n, 99)), PermissionError(errno.EPERM, "not today")))
            try:
                write(tmp_path / "links", 2)
            except GGUFError:
                assert n < 2 * N + 1
        write(tmp_path / "links", 3)  # over links that lead nowhere
        assert whole(tmp_path / "store") == 3
        assert all((tmp_path / "links" / name).is_symlink() for name in NAMES)
        assert set(os.listdir(tmp_path / "store")) == set(os.listdir(tmp_path / "links")) == set(NAMES)
        if n > 2 * N:
            break


def test_what_is_in_the_way_of_a_hidden_name_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, 1)
    old = Path(beside(str(tmp_path / NAMES[2]), "replaced"))
    old.symlink_to(NAMES[0])
    with pytest.raises(GGUFError, match="replaced is in the way; remove it"):
        write(tmp_path, 2)
    assert whole(tmp_path) == 1 and set(os.listdir(tmp_path)) == {*NAMES, old.name} and old.is_symlink()


@posix
def test_a_run_waits_while_another_one_replaces_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = threading.Thread(target=write, args=(tmp_path, 1))
    waiting.start()
    time.sleep(0.2)
    assert os.listdir(tmp_path) == []
    with monkeypatch.context() as m:
        m.setattr(placing, "_PATIENCE", 0.0)
        with pytest.raises(GGUFError, match="locked by another process for 0 s"):
            write(tmp_path, 2)
    os.close(fd)
    waiting.join(30)
    assert whole(tmp_path) == 1


@posix
def test_a_folder_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", stopping("stat", set(range(99)), OSError(errno.ENOLCK, "No locks available")))
    write(tmp_path, 1)
    assert whole(tmp_path) == 1


@posix
def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    rows = [(f"t{i}", (8,), "F32", bytes(32)) for i in range(2)]
    long = "p" * 245  # with -00001-of-00002.gguf over 255
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="too long for the filesystem, the name has 265 bytes; choose a shorter"):
            gguf.write(tmp_path / long, {}, rows, max_tensors=1, overwrite=overwrite)
        with pytest.raises(UsageError, match="too long for the filesystem, the name has 256 bytes"):
            gguf.write(tmp_path / ("p" * 256), {}, rows, overwrite=overwrite)
    assert not contents(tmp_path)
    gguf.write(tmp_path / ("p" * 235), {}, rows, max_tensors=1)
    assert len(contents(tmp_path)) == 2


@posix
@pytest.mark.parametrize("more", [{}, {"max_tensors": 1}])
def test_a_link_stays_and_its_file_is_replaced_for_one_file_as_for_parts(tmp_path: Path, more: dict[str, int]) -> None:
    (tmp_path / "store").write_bytes(b"old")
    name = "m-00001-of-00002.gguf" if more else "m"
    (tmp_path / name).symlink_to("store")
    rows = [(f"t{i}", (8,), "F32", bytes(32)) for i in range(2)]
    with pytest.raises(UsageError, match="exists already"):
        gguf.write(tmp_path / "m", {}, rows, **more)
    assert (tmp_path / "store").read_bytes() == b"old"
    gguf.write(tmp_path / "m", {}, rows, overwrite=True, **more)
    assert (tmp_path / name).is_symlink() and (tmp_path / "store").read_bytes()[:4] == b"GGUF"
    assert not gguf.verify(tmp_path / name)
