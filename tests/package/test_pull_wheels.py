"""Registry models out of wheels: by pip from a folder, and without pip from an index on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeq import pull as pulling
from edgeq import registry
from edgeq.errors import DownloadError
from edgeq.pull import wheels
from edgeq.registry import Entry, Part
from tests.package.pulls import BIG, BIG_SHA, Told, cache, web
from tests.package.web import Web

__all__ = ["cache", "web"]  # fixtures

PIECES = [BIG[:100_000], BIG[100_000:250_000], BIG[250_000:]]


def write_wheel(folder: Path, number: int, piece: bytes, compress: int = zipfile.ZIP_DEFLATED) -> Path:
    """A small real wheel that holds a piece of a model."""
    name = f"edgeq_stand_in_{number}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr(f"{name}/data.bin", piece)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number, piece in enumerate(PIECES):
        write_wheel(folder, number, piece)
    return folder


@pytest.fixture
def entry(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A model of three parts that the registry knows."""
    parts = tuple(
        Part(
            project=f"edgeq-stand-in-{number}",
            version="1.0",
            wheel=path.name,
            wheel_sha256=sha(path.read_bytes()),
            member=f"edgeq_stand_in_{number}/data.bin",
            size=len(PIECES[number]),
            sha256=sha(PIECES[number]),
        )
        for number, path in enumerate(sorted(shelf.iterdir()))
    )
    made = Entry("stand-in", ("standin",), "Stand-in", "s.gguf", len(BIG), BIG_SHA, "MIT", "", "", True, parts)
    monkeypatch.setattr(registry, "entries", lambda: (made,))
    return made


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest))


def serve_index(web: Web, shelf: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """An index with the wheels of the shelf, for a Python without pip."""
    without_pip(monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", web.url + "/simple")
    for number, path in enumerate(sorted(shelf.iterdir())):
        web.add(f"/files/{path.name}", path.read_bytes(), **options)
        other = {"filename": "something-else.whl", "url": "/files/other"}
        listing = {"files": [other, {"filename": path.name, "url": f"../../files/{path.name}", "hashes": {}}]}
        web.add_json(f"/simple/edgeq-stand-in-{number}/", listing)


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_pip_is_the_client_where_it_exists(entry: Entry, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    path = pulling.pull("standin")
    assert path == entry.path
    assert path.read_bytes() == BIG
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.gguf", "s.gguf.lock"]
    assert registry.resolve("stand-in", fetch=False) == path


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_pip_says_why_it_failed(entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(DownloadError, match=r"pip could not fetch edgeq-stand-in-0==1\.0: No matching distribution"):
        pulling.pull("stand-in")
    assert not list(entry.path.parent.rglob("pip-*"))


def test_progress_of_pip_is_passed_on() -> None:
    told = Told()
    lines = ["Collecting x", "Progress 0 of 50", "Progress 30 of 50", "Progress 50 of 50", "ERROR: no luck"]
    status, said = wheels.run_pip([sys.executable, "-c", f"print({chr(10).join(lines)!r}); exit(3)"], "x", told)
    assert status == 3
    assert told.starts == [(0, 50)]
    assert told.last == 50
    assert wheels.why_pip_failed(said) == "no luck"


def test_without_pip_the_index_is_asked(entry: Entry, shelf: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_index(web, shelf, monkeypatch, cuts=1, cut_at=5000)
    assert pulling.pull("stand-in").read_bytes() == BIG
    assert web.gets("/simple/edgeq-stand-in-0/")[0].headers["Accept"] == "application/vnd.pypi.simple.v1+json"
    name = sorted(shelf.iterdir())[0].name
    assert [one.headers.get("Range") for one in web.gets(f"/files/{name}")] == [None, "bytes=5000-"]


def test_a_pull_that_broke_off_keeps_its_whole_parts(
    entry: Entry, shelf: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, shelf, monkeypatch)
    last = sorted(shelf.iterdir())[2].name
    page = web.pages.pop(f"/files/{last}")
    with pytest.raises(DownloadError, match="no such file"):
        pulling.pull("stand-in")
    part = entry.path.with_name("s.gguf.part")
    assert part.read_bytes() == BIG[:250_000]
    part.write_bytes(BIG[:250_000] + b"half a member")
    web.pages[f"/files/{last}"] = page
    web.asked.clear()
    assert pulling.pull("stand-in").read_bytes() == BIG
    assert [one.path for one in web.asked] == ["/simple/edgeq-stand-in-2/", f"/files/{last}"]


def test_a_part_file_of_other_bytes_is_found_out(
    entry: Entry, shelf: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, shelf, monkeypatch)
    entry.path.parent.mkdir(parents=True)
    entry.path.with_name("s.gguf.part").write_bytes(bytes(len(BIG)))
    with pytest.raises(DownloadError, match="SHA-256"):
        pulling.pull("stand-in")
    assert pulling.pull("stand-in").read_bytes() == BIG


def test_a_damaged_file_in_the_cache_is_fetched_again(
    entry: Entry, shelf: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, shelf, monkeypatch)
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(bytes(len(BIG)))
    told = Told()
    assert pulling.pull("stand-in", progress=told).read_bytes() == BIG
    assert "another SHA-256" in told.notes[0]


def test_another_wheel_than_announced_is_refused(
    entry: Entry, shelf: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, shelf, monkeypatch)
    first = sorted(shelf.iterdir())[0].name
    web.pages[f"/files/{first}"].body += b"x"
    with pytest.raises(DownloadError, match="SHA-256"):
        pulling.pull("stand-in")
    assert not entry.path.exists()


@pytest.mark.parametrize("listing", [{}, [], {"files": 3}, {"files": [3]}, {"files": [{"filename": "x.whl"}]}])
def test_an_index_without_the_wheel(entry: Entry, web: Web, monkeypatch: pytest.MonkeyPatch, listing: object) -> None:
    without_pip(monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", web.url + "/simple/")
    web.add_json("/simple/edgeq-stand-in-0/", listing)
    with pytest.raises(DownloadError, match="does not list edgeq_stand_in_0"):
        pulling.pull("stand-in")


def piece_of(wheel: Path, member: str, data: bytes) -> Part:
    return Part("p", "1", wheel.name, "", member, len(data), sha(data))


@pytest.mark.parametrize("case", ["longer", "shorter", "other", "missing", "no zip", "cut", "stored badly"])
def test_a_wheel_that_does_not_hold_what_it_should(tmp_path: Path, case: str) -> None:
    wheel, part = write_wheel(tmp_path, 0, BIG), tmp_path / "m.part"
    member, want = "edgeq_stand_in_0/data.bin", BIG
    part.write_bytes(b"before")
    if case == "longer":
        want = BIG[:-1]
    elif case == "shorter":
        want = BIG + b"x"
    elif case == "other":
        want = bytes(len(BIG))
    elif case == "missing":
        member = "edgeq_stand_in_0/other.bin"
    elif case == "no zip":
        wheel.write_bytes(b"PK\x03\x04 nonsense")
    elif case == "cut":
        wheel.write_bytes(wheel.read_bytes()[:1000])
    else:
        wheel.write_bytes(wheel.read_bytes().replace(BIG[5000:5010], bytes(10)))
    with pytest.raises(DownloadError, match=r"edgeq_stand_in_0-1.0-py3-none-any\.whl"):
        wheels.append_member(piece_of(wheel, member, want), wheel, part)
    assert part.read_bytes() == b"before"
    assert not wheel.exists()


def test_a_zip_bomb_stops_at_the_announced_size(tmp_path: Path) -> None:
    wheel, part = write_wheel(tmp_path, 0, bytes(50_000_000)), tmp_path / "m.part"
    part.touch()
    written: list[int] = []
    real = os.truncate
    piece = piece_of(wheel, "edgeq_stand_in_0/data.bin", bytes(1000))

    def watch(path: Path, size: int) -> None:
        written.append(part.stat().st_size)
        real(path, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "truncate", watch)
        with pytest.raises(DownloadError, match="more than 1000 bytes"):
            wheels.append_member(piece, wheel, part)
    assert written
    assert max(written) <= 1000


def test_the_pip_of_an_interrupted_pull_ends(tmp_path: Path) -> None:
    class Stop(Told):
        def update(self, done: int) -> None:
            raise KeyboardInterrupt

    code = f"import time; open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()));"
    code += "print('Progress 1 of 2', flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        wheels.run_pip([sys.executable, "-c", code], "x", Stop())
    pid = (tmp_path / "pid").read_text()
    if os.path.isdir("/proc/self"):
        assert not os.path.isdir(f"/proc/{pid}")


def test_pull_list_as_json() -> None:
    command = [sys.executable, "-m", "edgeq", "pull", "--list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"name": "smollm2-135m"' in done.stdout
