"""The Hugging Face hub, played by a server on this machine: over plain HTTPS and through huggingface_hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq import pull as pulling
from edgeq.errors import DownloadError, UsageError
from edgeq.pull import http
from tests.package.pulls import BIG, BIG_SHA, EMPTY_MODEL, cache, web
from tests.package.web import Web, serve

__all__ = ["cache", "web"]  # fixtures


def test_the_hub_lists_checks_and_fetches(web: Web, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.setenv("HF_TOKEN", "secret")
    names = ["README.md", "m-Q8_0.gguf", "m-q4_k_m.gguf", "mmproj-m.gguf"]
    web.add_json("/api/models/own/er", {"siblings": [{"rfilename": name} for name in names]})
    with serve() as store:
        linked = {"X-Linked-Etag": f'"{BIG_SHA}"', "X-Linked-Size": str(len(BIG))}
        web.add("/own/er/resolve/main/m-q4_k_m.gguf", redirect=store.add("/blob", BIG), headers=linked)
        path = pulling.pull("hf:own/er")
        assert path == cache / "models/hf/own/er/m-q4_k_m.gguf"
        assert path.read_bytes() == BIG
        assert all(one.headers["Authorization"] == "Bearer secret" for one in web.asked)
        assert [one.headers.get("Authorization") for one in store.asked] == [None]
        asked = len(web.asked)
        assert pulling.pull("hf:own/er") == pulling.pull("hf:own/er:m-q4_k_m.gguf") == path
        assert len(web.asked) == asked


def test_the_hub_announces_another_checksum(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.add("/own/er/resolve/main/m.gguf", BIG, headers={"X-Linked-Etag": f'"{"1" * 64}"'})
    with pytest.raises(DownloadError, match="SHA-256"):
        pulling.pull("hf:own/er:m.gguf")
    web.add("/own/er/resolve/main/n.gguf", BIG, headers={"X-Linked-Size": "12"})
    with pytest.raises(DownloadError, match="300004 bytes, expected 12"):
        pulling.pull("hf:own/er:n.gguf")


def test_all_parts_of_a_split_file_come(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    names = [f"sub/m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    web.add_json("/api/models/own/er", {"siblings": [{"rfilename": name} for name in names]})
    for number, name in enumerate(names):
        web.add(f"/own/er/resolve/main/{name}", EMPTY_MODEL + bytes([number]))
    path = pulling.pull("hf:own/er")
    assert path.name == "m-00001-of-00003.gguf"
    assert [p.read_bytes()[-1] for p in sorted(path.parent.glob("*.gguf"))] == [0, 1, 2]
    assert pulling.cached("hf:own/er") == path
    path.with_name("m-00002-of-00003.gguf").unlink()
    assert pulling.cached("hf:own/er") is None


def test_several_files_want_a_name(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.add_json("/api/models/own/er", {"siblings": [{"rfilename": "a.gguf"}, {"rfilename": "b.gguf"}]})
    with pytest.raises(UsageError, match=r"name one as hf:own/er:FILE: a\.gguf, b\.gguf"):
        pulling.pull("hf:own/er")
    web.add_json("/api/models/own/none", {"siblings": [{"rfilename": "../../x.gguf"}, {"rfilename": 3}]})
    with pytest.raises(DownloadError, match="no GGUF file"):
        pulling.pull("hf:own/none")


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"<html>", b'{"siblings": 3}', b"[" * 100_000])
def test_a_hub_that_talks_nonsense(web: Web, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.add("/api/models/own/er", answer)
    with pytest.raises(DownloadError):
        pulling.pull("hf:own/er")


def test_an_answer_without_end_is_bounded(web: Web) -> None:
    with pytest.raises(DownloadError, match="more than 1000 bytes"):
        http.read_json(web.add("/big", b" " * 100_000), {}, limit=1000)


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a b/c", "hf:a/b:"]
    + [f"hf:a/b:{file}" for file in ("../c.gguf", "/c.gguf", "c.bin", "c\\d.gguf", "x//y.gguf", "c:d.gguf")],
)
def test_a_hub_name_that_is_none(name: str) -> None:
    with pytest.raises(UsageError):
        pulling.pull(name)


def test_through_huggingface_hub(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    headers = {"X-Repo-Commit": "0" * 40, "X-Linked-Etag": f'"{BIG_SHA}"', "X-Linked-Size": str(len(BIG))}
    web.add("/own/er/resolve/main/m.gguf", BIG, headers=headers)
    script = (
        "import sys; from edgeq.pull import pull, cached; p = pull(sys.argv[1]);"
        "assert cached(sys.argv[1]) == p; print(p)"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": web.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, "hf:own/er:m.gguf"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == BIG
    assert str(tmp_path / "hf") in done.stdout
    failing = [sys.executable, "-m", "edgeq", "pull", "hf:own/er:missing.gguf"]
    done = subprocess.run(failing, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
