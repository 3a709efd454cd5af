"""Faults around the reader and writer: failing devices, no memory, a missing library, odd machines."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import ggufbytes as b
import pytest

from edgeq import gguf
from edgeq.errors import BackendError, GGUFError, MemoryLimitError, UsageError
from edgeq.gguf import arrays, part, partfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "m.gguf"
    out.write_bytes(b.small().build())
    return out


def broken(error: BaseException) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("call", ["_next", "_stat"])
def test_a_device_that_fails_at_opening(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(part.Part, call, broken(OSError(errno.EIO, "Input/output error")))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(GGUFError, match=r"m\.gguf: cannot be read: .*Input/output error"):
        gguf.open(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_device_that_fails_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gguf.open(path) as g:
        monkeypatch.setattr(part.Part, "_next", broken(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(GGUFError, match="Input/output error"):
            g.parts[0].read(0, 10)
        with pytest.raises(GGUFError, match="Input/output error"):
            gguf.copy(path, path.with_name("copy.gguf"))
        monkeypatch.setattr(part.Part, "_stat", broken(OSError(errno.EIO, "Input/output error")))
        assert g.changed()
    assert os.listdir(path.parent) == ["m.gguf"]


def test_short_reads_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network file system may give them."""
    real = part._open

    class Slow:
        def __init__(self, file: Any) -> None:
            self.file = file

        def read(self, n: int) -> bytes:
            return bytes(self.file.read(min(n, 7)))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    monkeypatch.setattr(part, "_open", lambda p: Slow(real(p)))
    assert gguf.copy(path, path.with_name("copy.gguf")) == []
    assert path.with_name("copy.gguf").read_bytes() == path.read_bytes()


def test_a_file_that_shrinks_while_its_header_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.gguf.cursor._FIRST_READ", 100)
    real = part.Part._next
    monkeypatch.setattr(part.Part, "_next", lambda self, n: real(self, n) if n == 100 else b"")
    with pytest.raises(GGUFError, match="became shorter"):
        gguf.open(path)


def test_no_memory_for_the_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part.Part, "_next", broken(MemoryError()))
    with pytest.raises(MemoryLimitError, match=r"m\.gguf"):
        gguf.open(path)


def test_a_machine_that_cannot_map(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part.mmap, "mmap", broken(OSError(errno.ENODEV, "No such device")))
    with pytest.raises(GGUFError, match="No such device"):
        gguf.open(path)


def test_a_big_endian_machine_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(BackendError, match="big-endian"):
        gguf.open(path)


def test_without_a_native_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgeq

    monkeypatch.setitem(sys.modules, "edgeq._lib", None)
    monkeypatch.delattr(edgeq, "_lib", raising=False)
    monkeypatch.setattr(arrays, "_NATIVE_FROM", 0)
    with gguf.open(path) as g:
        assert g.metadata["array.8"].tolist() == ["", "a ☃"]
        t = g.tensors["a"]
        assert t.address == t.data.__array_interface__["data"][0]


def test_an_interrupt_while_opening_closes_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "read_header", broken(KeyboardInterrupt()))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        gguf.open(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_without_fallocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", broken(OSError(errno.EOPNOTSUPP, "Operation not supported")))
    gguf.write(tmp_path / "a.gguf", {"k": 1})
    monkeypatch.delattr(os, "posix_fallocate")
    gguf.write(tmp_path / "b.gguf", {"k": 1})
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_no_free_temporary_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partfile.os, "open", broken(FileExistsError()))
    with pytest.raises(GGUFError, match="in the way"):
        gguf.write(tmp_path / "m.gguf", {})


def test_a_source_that_is_gone_is_no_obstacle(path: Path) -> None:
    with gguf.Writer(path, {"k": 1}, overwrite=True, sources=[path.with_name("gone")]) as _:
        pass
    with gguf.open(path) as g:
        assert dict(g.metadata) == {"k": 1}


def test_a_writer_writes_once(tmp_path: Path) -> None:
    w = gguf.Writer(tmp_path / "m.gguf", {})
    with w:
        pass
    with pytest.raises(UsageError, match="writes once"), w:
        pass


def test_metadata_of_one_file_goes_into_another(path: Path) -> None:
    target = path.with_name("other.gguf")
    with gguf.open(path) as g:
        plain = {
            "s": g.metadata["array.8"],
            "n": g.metadata["array.6"],
            "one": g.metadata.typed()["scalar.0"],
        }
        gguf.write(target, plain)
        with gguf.open(target) as other:
            assert [other.metadata.type(k) for k in plain] == ["array[string]", "array[f32]", "u8"]
            assert other.metadata["s"] == g.metadata["array.8"] and other.metadata["n"] == g.metadata["array.6"]
            assert other.metadata["s"] != ["x"] and other.metadata["n"] != other.metadata["s"]
        edited = {**g.metadata.typed(), "general.name": gguf.Value("string", "edited")}
        gguf.write(target, edited, overwrite=True)
        with gguf.open(target) as other:
            assert {k: other.metadata.type(k) for k in g.metadata} == {k: g.metadata.type(k) for k in g.metadata}
            assert other.metadata["general.name"] == "edited"


def test_everything_shows_itself_briefly(path: Path) -> None:
    with gguf.open(path) as g:
        assert repr(g).endswith("m.gguf: 37 keys, 3 tensors>")
        assert repr(g.tensors["b"]) == "<Tensor b Q4_0 [2, 64]>"
        assert repr(g.metadata) == "<Metadata of 37 keys>"
        assert repr(g.metadata["array.8"]) == "<StringArray of 2>"
        assert repr(g.metadata["array.6"]) == "<NumberArray of 2 f32>"
